# Sourced by run_local.sh, run_sge.sh and run_slurm.sh: the command line they share, and how one job is run and logged.
#
#   RUNNER [options] [JOB=1:NJ] LOG COMMAND...
#
# runs COMMAND, or NJ of them with JOB (any name will do) replaced by 1 ... NJ in LOG and COMMAND. The contract is that
# of Kaldi's run.pl, queue.pl and slurm.pl, so that each may stand in another's place in a cmd.sh:
#
#   --mem 4G --num-threads N --gpu N --time H:MM:SS   what a job needs
#   --max-jobs-run N                                  at most so many at a time
#   --config FILE                                     the engine's options (run_sge.sh, run_slurm.sh)
#   --pick all|failed|incomplete                      by their logs, which jobs to run (failed: incomplete ones too)
#
# A word of COMMAND without white space is the shell's, as it stands: '|' '>' '&&' do what they say. A word with white
# space is quoted: "so", or 'so' where it holds a double quote. A LOG starts with the command and ends with the status:
#
#   # COMMAND
#   # Started at DATE
#   # Accounting: time=SECONDS threads=N
#   # Ended (code STATUS) at DATE, elapsed time SECONDS seconds

runner=$(basename "$0")
# shellcheck disable=SC2034  # for runner_cluster.sh
runner_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

runner_error() {
  echo "$runner: Error: $*" >&2
  exit 1
}

# Options go to the array "asked", old-style ones (-l ...) to "engine_words"; sets job_name, first, last, log and command.
runner_parse() {
  declare -gA asked=([pick]=all)
  engine_words=() job_name='' first=1 last=1 command=''
  local word name
  while [ $# -ge 2 ]; do
    if [[ $1 =~ ^([A-Za-z_][A-Za-z_0-9]*)=([0-9]+)(:([0-9]+))?$ && -z $job_name ]]; then
      job_name=${BASH_REMATCH[1]} first=$((10#${BASH_REMATCH[2]})) last=$((10#${BASH_REMATCH[4]:-$first}))
      [ "$first" -ge 1 ] && [ "$first" -le "$last" ] || runner_error "$1: expected 1 <= first <= last"
      shift
    elif [[ $1 == --?* ]]; then
      name=${1#--}
      name=${name//-/_}
      if [ "$name" = max_jobs_run ] && [ -n "${asked[$name]:-}" ] && [ "${asked[$name]}" -lt "$2" ]; then
        shift 2  # the smallest counts
        continue
      fi
      asked[$name]=$2
      shift 2
    elif [[ $1 == -V ]]; then
      engine_words+=("$1") && shift
    elif [[ $1 == -pe && $# -ge 3 ]]; then
      engine_words+=("$1" "$2" "$3") && shift 3
    elif [[ $1 == -?* ]]; then
      engine_words+=("$1" "$2") && shift 2
    else
      break
    fi
  done
  if [ $# -lt 2 ]; then
    echo "usage: $runner [--mem 4G] [--num-threads N] [--gpu N] [--time H:MM:SS] [--max-jobs-run N] [JOB=1:NJ] LOG COMMAND..." >&2
    exit 2
  fi
  for name in num_threads max_jobs_run; do
    [[ ${asked[$name]:-1} =~ ^[1-9][0-9]*$ ]] || runner_error "--${name//_/-} ${asked[$name]}: expected a whole number of at least 1"
  done
  [[ ${asked[gpu]:-0} =~ ^[0-9]+$ ]] || runner_error "--gpu ${asked[gpu]}: expected a whole number"
  [[ ${asked[pick]} =~ ^(all|failed|incomplete|none)$ ]] || runner_error "--pick ${asked[pick]}: expected all, failed or incomplete"
  log=$1
  shift
  [ "$first" -eq "$last" ] || [[ $log == *"$job_name"* ]] || runner_error "$log: one log for several jobs. To mend: put $job_name into its name"
  for word in "$@"; do
    if [[ $word =~ ^[^[:space:]]+$ ]]; then
      command+="$word "
    elif [[ $word == *\"* ]]; then
      command+="'$word' "
    else
      command+="\"$word\" "
    fi
  done
  command=${command% }
}

# $1 with the job name replaced by the number $2.
job_text() {
  if [ -n "$job_name" ]; then echo "${1//"$job_name"/$2}"; else echo "$1"; fi
}

# How job $1 ended, by its log: done, failed or incomplete.
job_state() {
  local end
  end=$(grep -a '^# Ended (code ' "$(job_text "$log" "$1")" 2> /dev/null | tail -n 1)
  case $end in
    '# Ended (code 0)'*) echo "done" ;;
    '# Ended (code '*) echo failed ;;
    *) echo incomplete ;;
  esac
}

# True when job $1 is to be run.
job_wanted() {
  case ${asked[pick]}/$(job_state "$1") in
    all/* | */incomplete | failed/failed) ;;
    *) return 1 ;;
  esac
}

# Make way for the jobs that are to be run: an earlier log must not be taken for theirs. Sets "wanted".
jobs_prepare() {
  local id file
  wanted=()
  for ((id = first; id <= last; id++)); do
    job_wanted "$id" || continue
    file=$(job_text "$log" "$id")
    mkdir -p "$(dirname "$file")" && rm -f "$file" || runner_error "$file: cannot be written"
    wanted+=("$id")
  done
}

# Run job $1 and write its log; the status is the command's.
job_run() {
  local file text begun status=0 elapsed
  file=$(job_text "$log" "$1") text=$(job_text "$command" "$1") begun=$(date +%s)
  printf '# %s\n# Started at %s\n#\n' "$text" "$(date)" > "$file" || return 1
  bash -c "$text" >> "$file" 2>&1 < /dev/null || status=$?
  elapsed=$(($(date +%s) - begun))
  printf '# Accounting: time=%s threads=%s\n# Ended (code %s) at %s, elapsed time %s seconds\n' \
    "$elapsed" "${OMP_NUM_THREADS:-1}" "$status" "$(date)" "$elapsed" >> "$file" || return 1
  return "$status"
}

# The libraries under torch, numpy and others start no more than $1 threads.
use_threads() {
  export OMP_NUM_THREADS=$1 MKL_NUM_THREADS=$1 OPENBLAS_NUM_THREADS=$1
}

# End: status 0 when every log says so; else 1, and how many failed and where their logs are.
jobs_report() {
  local id failed=()
  for ((id = first; id <= last; id++)); do
    [ "$(job_state "$id")" = "done" ] || failed+=("$id")
  done
  [ ${#failed[@]} -gt 0 ] || exit 0
  if [ "$first" -eq "$last" ]; then
    echo "$runner: job failed, log is in $(job_text "$log" "$first")" >&2
  else
    echo "$runner: ${#failed[@]} / $((last - first + 1)) failed, log is in $(job_text "$log" '*'); first of them: $(job_text "$log" "${failed[0]}")" >&2
  fi
  exit 1
}
