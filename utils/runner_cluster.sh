# shellcheck disable=SC2154,SC2004  # runner.sh sets them; asked has names for keys
# Sourced by run_sge.sh and run_slurm.sh after runner.sh: an engine's options, the script it runs, and the waiting.
#
# How --mem and the others become options of the engine is said by lines of Kaldi's queue.conf and slurm.conf, in the
# file of --config, or conf/ENGINE.conf where there is one, or by the runner's own defaults:
#
#   command sbatch --partition shared   what submits
#   option mem=* --mem-per-cpu $0       --mem 4G becomes --mem-per-cpu 4G
#   option gpu=0                        --gpu 0 becomes nothing
#   default gpu=0                       as if --gpu 0 were given when it is not

# cluster_options CONFIG DEFAULTS: sets the array "submit" to the engine's command with the options asked for.
cluster_options() {
  local config=${asked[config]:-} lines=$2 from='the defaults' line name value words
  if [ -z "$config" ] && [ -f "$1" ]; then config=$1; fi
  if [ -n "$config" ]; then
    lines=$(cat -- "$config") || runner_error "$config: cannot be read"
    from=$config
  fi
  unset 'asked[config]'
  local -A exact=() any=()
  local command_words=''
  while IFS= read -r line; do
    line=${line%%#*}
    if [[ $line =~ ^[[:space:]]*$ ]]; then
      continue
    elif [[ $line =~ ^command\ (.+)$ ]]; then
      command_words=${BASH_REMATCH[1]}
    elif [[ $line =~ ^option\ ([a-z_]+)=\*(\ (.*))?$ ]]; then
      any[${BASH_REMATCH[1]}]=${BASH_REMATCH[3]}
    elif [[ $line =~ ^option\ ([a-z_]+)=([^[:space:]]+)(\ (.*))?$ ]]; then
      exact[${BASH_REMATCH[1]}=${BASH_REMATCH[2]}]=${BASH_REMATCH[4]}
    elif [[ $line =~ ^default\ ([a-z_]+)=([^[:space:]]+)[[:space:]]*$ ]]; then
      name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
      [ -n "${asked[$name]:-}" ] || asked[$name]=$value
    else
      runner_error "$from: cannot understand '$line'. Expected 'command ...', 'option NAME=VALUE ...' or 'default NAME=VALUE'"
    fi
  done <<< "$lines"
  [ -n "$command_words" ] || runner_error "$from: no line 'command ...'"
  read -ra submit <<< "$command_words"
  for name in $(printf '%s\n' "${!asked[@]}" | sort); do
    value=${asked[$name]}
    if [ "$name" = pick ] || [ "$name" = max_jobs_run ]; then
      continue  # the runner's own
    elif [ -n "${exact[$name=$value]+set}" ]; then
      words=${exact[$name=$value]}
    elif [ -n "${any[$name]+set}" ]; then
      words=${any[$name]//\$0/$value}
    else
      runner_error "--${name//_/-} $value: not described in $from. To mend: add a line 'option $name=* ...'"
    fi
    read -ra words <<< "$words"
    submit+=("${words[@]}")
  done
  submit+=("${engine_words[@]}")
}

# cluster_script VARIABLE: write what the engine runs, with the job's number in VARIABLE; sets "script" and "engine_log".
cluster_script() {
  local name queue_dir
  queue_dir=$(dirname "$log")/q
  name=$(basename "$log")
  [ -z "$job_name" ] || name=${name/.$job_name/}
  mkdir -p "$queue_dir" || runner_error "$queue_dir: cannot be made"
  script=$(realpath "$queue_dir")/${name%.log}.sh
  engine_log=${script%.sh}.out
  cat > "$script" << EOF || runner_error "$script: cannot be written"
#!/usr/bin/env bash
cd ${PWD@Q} || exit 1
[ ! -f path.sh ] || . ./path.sh
. ${runner_dir@Q}/runner.sh
declare -A asked=([pick]=${asked[pick]})
job_name=${job_name@Q} log=${log@Q} command=${command@Q}
use_threads ${asked[num_threads]:-1}
job_wanted "\${$1:-1}" || exit 0
job_run "\${$1:-1}" || exit 1
EOF
  rm -f "$engine_log"
}

# cluster_run QUEUED CANCEL: submit, wait while the command QUEUED says that the job is known, report.
# A signal cancels the job.
cluster_run() {
  local output job pause
  output=$("${submit[@]}" 2>&1) || runner_error "cannot submit: ${output:-no message}. The command was: ${submit[*]}"
  [[ $output =~ (^|[[:space:]])([0-9]+)([^0-9]|$) ]] || runner_error "no job number in what '${submit[0]}' said: $output"
  job=${BASH_REMATCH[2]}
  # shellcheck disable=SC2064  # the job's number is known now
  trap "trap - INT TERM HUP; $2 $job; echo '$runner: stopped; job $job was cancelled' >&2; exit 1" INT TERM HUP
  SECONDS=0 pause=1
  while "$1" "$job"; do
    sleep "$pause" &
    wait $!  # a trap interrupts wait, not sleep
    pause=$((SECONDS < 60 ? 1 : 5))
  done
  for pause in 1 1 2 3; do  # a file of another machine may come late
    [[ " $(for id in "${wanted[@]}"; do job_state "$id"; done) " != *incomplete* ]] && break
    sleep "$pause"
  done
  jobs_report
}
