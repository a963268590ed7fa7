#!/usr/bin/env bash
# Run jobs through Slurm, as one job array, in the manner of Kaldi's slurm.pl; see runner.sh for the command line and
# runner_cluster.sh for conf/slurm.conf, which says how your cluster wants to be asked. Waits for the jobs.
. "$(dirname "${BASH_SOURCE[0]}")/runner.sh"
. "$(dirname "${BASH_SOURCE[0]}")/runner_cluster.sh"
runner_parse "$@"
# shellcheck disable=SC2016  # $0 is the value of the option
cluster_options conf/slurm.conf 'command sbatch --export=ALL
option mem=* --mem-per-cpu $0
option mem=0
option num_threads=* --cpus-per-task $0
option time=* --time $0
option gpu=* --gres gpu:$0
option gpu=0'
jobs_prepare
[ ${#wanted[@]} -gt 0 ] || jobs_report
cluster_script SLURM_ARRAY_TASK_ID
submit+=(--parsable --ntasks 1 --open-mode=append --output "$engine_log")
if [ -n "$job_name" ]; then
  array=$first-$last
  [ ${#wanted[@]} -eq $((last - first + 1)) ] || array=$(IFS=, && echo "${wanted[*]}")
  submit+=(--array "$array${asked[max_jobs_run]:+%${asked[max_jobs_run]}}")
fi
submit+=("$script")

# True while Slurm knows job $1 as pending or running, and when Slurm cannot be asked.
queued() {
  local answer
  answer=$(squeue --noheader --jobs "$1" 2>&1) || [[ $answer != *'Invalid job id'* ]] || return 1
  [ -n "$answer" ]
}

cluster_run queued scancel
