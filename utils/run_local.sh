#!/usr/bin/env bash
# Run jobs as processes of this machine, in the manner of Kaldi's run.pl; see runner.sh for the command line.
# --mem and --time are for clusters. As many jobs run at a time as there are cores (with --gpu: GPUs) for their threads;
# where --num-threads and OMP_NUM_THREADS say nothing, the jobs share the cores.
. "$(dirname "${BASH_SOURCE[0]}")/runner.sh"
runner_parse "$@"
[ ${#engine_words[@]} -eq 0 ] || echo "$runner: ignored, there is no queue here: ${engine_words[*]}" >&2
jobs_prepare

at_least_1() { if [ "$1" -ge 1 ]; then echo "$1"; else echo 1; fi; }

cores=$(env -u OMP_NUM_THREADS nproc)  # nproc would take OMP_NUM_THREADS for the number of cores
gpu=${asked[gpu]:-0}
if [ "$gpu" -gt 0 ]; then
  num_gpus=$(nvidia-smi -L 2> /dev/null | grep -c '^GPU') || true
  at_a_time=$(at_least_1 $((num_gpus / gpu)))
else
  at_a_time=$(at_least_1 $((cores / ${asked[num_threads]:-1})))
fi
at_a_time=${asked[max_jobs_run]:-$at_a_time}
[ "$at_a_time" -le ${#wanted[@]} ] || at_a_time=$(at_least_1 ${#wanted[@]})
if [ -n "${asked[num_threads]:-}" ]; then
  use_threads "${asked[num_threads]}"
elif [ -z "${OMP_NUM_THREADS:-}" ]; then
  use_threads "$(at_least_1 $((cores / at_a_time)))"
fi

pids=()  # by slot
stop() {
  trap - INT TERM HUP
  for pid in "${pids[@]}"; do kill -TERM -- "-$pid" 2> /dev/null; done
  wait
  echo "$runner: stopped by SIG$1; its jobs were ended" >&2
  kill -"$1" $$
}
for signal in INT TERM HUP; do
  # shellcheck disable=SC2064  # now
  trap "stop $signal" "$signal"
done

# A slot of those that jobs may take; waits until one is free.
take_slot() {
  while :; do
    for ((slot = 0; slot < at_a_time; slot++)); do
      [ -n "${pids[slot]:-}" ] && kill -0 "${pids[slot]}" 2> /dev/null || return
    done
    wait -n
  done
}

for id in "${wanted[@]}"; do
  take_slot
  set -m  # the job is a process group of its own, so that it ends with all that it started
  (
    trap - INT TERM HUP
    if [ "$gpu" -gt 0 ] && [ "$num_gpus" -gt 1 ] && [ -z "${CUDA_VISIBLE_DEVICES:-}" ]; then
      CUDA_VISIBLE_DEVICES=$(seq -s , $((slot * gpu % num_gpus)) $((slot * gpu % num_gpus + gpu - 1)))
      export CUDA_VISIBLE_DEVICES
    fi
    job_run "$id"
  ) &
  set +m
  pids[slot]=$!
done
wait
jobs_report
