#!/usr/bin/env bash
# Run jobs through Sun Grid Engine and its kin, as one array job, in the manner of Kaldi's queue.pl; see runner.sh for
# the command line and runner_cluster.sh for conf/queue.conf, which says how your cluster wants to be asked.
# Waits for the jobs.
. "$(dirname "${BASH_SOURCE[0]}")/runner.sh"
. "$(dirname "${BASH_SOURCE[0]}")/runner_cluster.sh"
runner_parse "$@"
# shellcheck disable=SC2016  # $0 is the value of the option
cluster_options conf/queue.conf 'command qsub -V -cwd -S /bin/bash -j y
option mem=* -l mem_free=$0,ram_free=$0
option mem=0
option num_threads=* -pe smp $0
option num_threads=1
option time=* -l h_rt=$0
option gpu=* -l gpu=$0
option gpu=0'
jobs_prepare
[ ${#wanted[@]} -gt 0 ] || jobs_report
cluster_script SGE_TASK_ID
submit+=(-o "$engine_log")
[ -z "$job_name" ] || submit+=(-t "$first:$last")  # the script passes over what is not wanted
[ -z "${asked[max_jobs_run]:-}" ] || [ -z "$job_name" ] || submit+=(-tc "${asked[max_jobs_run]}")
submit+=("$script")

# True while the queue knows job $1.
queued() { qstat -j "$1" > /dev/null 2>&1; }

cluster_run queued qdel
