#!/usr/bin/env bash
# Run one command as several jobs: split its input, run "$cmd JOB=1:NJ LOG COMMAND", check and merge what came out.
#
# INPUT is a data directory or a table (scp, utt2spk, trial list ...). In COMMAND, SPLIT stands for a job's part of it
# and JOB for the job's number. Each of --merge is an output with .JOB or /JOB in its name; what is merged has the name
# without: exp/e.JOB.scp becomes exp/e.scp, in INPUT's order. A directory exp/targets/JOB becomes exp/targets: its tables
# are merged, its archives stay where they are and what ends in .json, the same in all parts, comes last.
# With one job nothing is split, and COMMAND writes under the merged names itself.
#
# A failed job fails this, and its log is named; a rerun redoes only the jobs that did not end well. When INPUT, COMMAND
# or a file of --inputs is another, or --nj with work left to do, nothing of an earlier run is used.
set -euo pipefail
help_message="usage: $0 [options] INPUT NAME.JOB.log COMMAND...
example:
  $0 --nj 4 --cmd run_local.sh --merge exp/e.JOB.scp data/test exp/log/extract.JOB.log \\
    svtk extract-embeddings exp/sv_mixer SPLIT ark,scp:exp/e.JOB.ark,exp/e.JOB.scp"
nj=4          # how many jobs
cmd=run       # a runner as in cmd.sh: run_local.sh, "run_slurm.sh --mem 4G", Kaldi's run.pl ... (run: this machine)
per_spk=false # keep the utterances of a speaker in one job
merge=        # outputs to merge, separated by commas
check=keys    # of each table among them: keys (those of INPUT, each once), lines (as many as INPUT's) or none
inputs=       # further files that the outputs hang on, separated by commas
num_threads=  # CPU threads that each job will use, told to the runner
_root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
. "$_root/utils/parse_options.sh"
. "$_root/utils/log.sh"
PATH=$_root/utils:$PATH
command -v svtk > /dev/null || PATH=$_root/bin:$PATH  # the svtk that the caller has comes first

[ $# -ge 3 ] || _options_error "found $# arguments, expected INPUT NAME.JOB.log COMMAND..."
[[ $nj =~ ^[1-9][0-9]*$ ]] || _options_error "--nj $nj: expected a whole number of at least 1"
[[ $check =~ ^(keys|lines|none)$ ]] || _options_error "--check $check: expected keys, lines or none"
input=${1%/} log_name=$2
shift 2
[[ $log_name == *.JOB.log ]] || _options_error "$log_name: a log's name ends in .JOB.log"
[[ ${log_name%.JOB.log}$input != *@(JOB|SPLIT)* ]] || _options_error "JOB and SPLIT in a name are replaced; found them in '$input' or '$log_name'"
IFS=, read -ra merge <<< "$merge"
IFS=, read -ra inputs <<< "$inputs"
for name in "${merge[@]}"; do
  [[ $name == *[./]JOB* ]] || _options_error "--merge $name: expected .JOB or /JOB in its name"
done
for name in "${inputs[@]}"; do [ -e "$name" ] || die "$name (of --inputs) is missing"; done
if [ -d "$input" ]; then
  table=utt2spk keys=$input/utt2spk
else
  table=$(basename "$input") keys=$input
  [ "$per_spk" = false ] || _options_error "--per-spk is for data directories; $input is none"
fi
[ -s "$keys" ] || die "$keys is missing or empty"
work=${log_name%.JOB.log}.jobs

if [ "$per_spk" = true ]; then of=speaker; else of=$([ -d "$input" ] && echo utterance || echo line); fi
most=$(if [ "$per_spk" = true ]; then awk '{ print $2 }' "$keys" | sort -u; else cat "$keys"; fi | wc -l)
if [ "$nj" -gt "$most" ]; then
  log "$input: $most job(s) instead of $nj, one for each $of"
  nj=$most
fi

# The name of output $1 when it is merged, and of job $2.
merged_name() { if [[ $1 == */JOB* ]]; then echo "${1/\/JOB/}"; else echo "${1/.JOB/}"; fi; }
job_name() { echo "${1//JOB/$2}"; }

# What the outputs hang on. Their number of jobs is not among it.
fingerprint() {
  local from=("$input" "${inputs[@]}")
  { printf '%s\0' "$input" "${merge[@]}" -- "$@" && find -L "${from[@]}" -maxdepth 1 -type f ! -name '.*' ! -name cuts.jsonl.gz \
    -print0 | sort -z | xargs -0 sha256sum; } | sha256sum | cut -d ' ' -f 1
}

# The names of the tables in output $1; of a file, nothing but its own.
tables() {
  local file
  [ -d "$1" ] || { echo "$1" && return; }
  for file in "$1"/*; do
    case $file in
      *.ark | *.json | *.part) ;;
      *) [ ! -f "$file" ] || echo "$file" ;;
    esac
  done
}

# The .json files of output $1; not the record of how this part of it was made.
json_files() {
  local file
  for file in "$1"/*.json; do [ ! -f "$file" ] || [[ $file == *@(.part|/provenance).json ]] || echo "$file"; done
}

# What is wrong with table $1, which should hold what table $2 does; nothing when it is whole.
wrong() {
  local got wanted
  if [ "$check" = lines ]; then
    got=$(wc -l < "$1") wanted=$(wc -l < "$2")
    [ "$got" -eq "$wanted" ] || echo "$1: found $got lines, expected $wanted"
  elif [ "$check" = keys ]; then
    awk -v name="$1" '
      NR == FNR { wanted[$1]; n++; next }
      !($1 in wanted) { if (!extra++) first_extra = $1; next }
      seen[$1]++ { if (!twice++) first_twice = $1; next }
      { found++ }
      END {
        if (extra) print name ": " extra " key(s) that are not in the input, first " first_extra
        else if (twice) print name ": " twice " key(s) more than once, first " first_twice
        else if (found < n) {
          for (key in wanted) if (!(key in seen) && (first == "" || key < first)) first = key
          print name ": found " found " of " n " keys; first that is missing: " first
        }
      }' "$2" "$1"
  fi
}

# What is wrong with the outputs of job $1 (none: as merged), which should hold what table $2 does.
wrong_outputs() {
  local name output file
  for name in "${merge[@]}"; do
    if [ -n "$1" ]; then output=$(job_name "$name" "$1"); else output=$(merged_name "$name"); fi
    [ -e "$output" ] || { echo "$output is missing" && return; }
    while IFS= read -r file; do wrong "$file" "$2"; done < <(tables "$output")
  done
}

# A word as any runner of Kaldi's contract hands it on unharmed: no white space, nothing that a shell would read.
protected() {
  local rest=$1 out='' char quoted=false
  if [[ $rest =~ ^[a-zA-Z0-9_./:,=@%+-]+$ ]]; then
    echo "$rest"
    return
  fi
  while [ -n "$rest" ]; do
    if [[ $rest == JOB* ]]; then  # outside of quotes, since queue.pl makes a variable of it
      if $quoted; then out+="'"; fi
      quoted=false out+=JOB rest=${rest#JOB}
      continue
    fi
    char=${rest:0:1} rest=${rest:1}
    $quoted || out+="\$'"
    quoted=true
    if [[ $char == [[:space:][:punct:]] && $char != [_./:,=@%+-] ]]; then printf -v char '\\x%02x' "'$char"; fi
    out+=$char
  done
  if $quoted; then out+="'"; fi
  [ -n "$out" ] || out="''"
  echo "$out"
}

# Remove what an earlier run left, which these outputs will not be made of.
discard() {
  local _ old_nj job name file
  read -r _ old_nj _ < "$work/state"
  log "$work: the input, the command or --nj is another; what the earlier run left is removed"
  for name in "${merge[@]}"; do
    for ((job = 1; job <= old_nj; job++)); do
      file=$(job_name "$name" "$job")
      if [[ $name == *.JOB.* ]]; then rm -rf "${file%."$job".*}.$job".*; else rm -rf "$file"; fi
    done
  done
  if [ -f "$work/merged" ]; then
    while IFS= read -r file; do
      rm -f "$file"
      [ "$old_nj" -gt 1 ] || [[ $file != *.scp ]] || rm -f "${file%.scp}.ark"
    done < <(tail -n +2 "$work/merged")
  fi
  rm -rf "$work"/{state,merged,split,done.*}
}

# Run the runner $cmd with the threads and words given.
launch() {
  local words=() word runner
  read -ra runner <<< "$cmd"
  [ -z "$num_threads" ] || runner+=(--num-threads "$num_threads")
  for word in "$@"; do words+=("$(protected "$word")"); done
  "${runner[@]}" "${jobs[@]}" "$log_file" "${before[@]}" "${words[@]}" "${after[@]}"
}

run_one() {
  local word words=()
  for word in "$@"; do
    word=${word//SPLIT/$input}
    word=${word//[.\/]JOB/}
    words+=("${word//JOB/1}")
  done
  if [ "$cmd" = run ]; then
    run "$(merged_name "$log_name")" "${words[@]}"
  else
    log "\$ $(_quoted "${words[@]}")"
    jobs=() before=() after=() log_file=$(merged_name "$log_name")
    launch "${words[@]}" || die "the job failed; log: $log_file"
  fi
  local problem
  problem=$(wrong_outputs '' "$keys")
  [ -z "$problem" ] || die "${problem%%$'\n'*}; log: $(merged_name "$log_name")"
}

# Whether job $1 has ended well and its outputs are still there.
is_done() {
  local name
  [ -e "$work/done.$1" ] || return 1
  for name in "${merge[@]}"; do [ -e "$(job_name "$name" "$1")" ] || return 1; done
}

run_split() {
  local split=$work/split/JOB word words=() job name pause left=() jobs=("JOB=1:$nj") before=() after=('&&' touch "$(protected "$work/done.JOB")")
  if [ -d "$input" ]; then
    [ "$per_spk" = true ] || words=(--per-utt)
    [ -d "$work/split" ] || split_data.sh "${words[@]}" "$input" "$nj" "$work/split"
  else
    split+=/$table
    if [ ! -d "$work/split" ]; then
      for ((job = 1; job <= nj; job++)); do mkdir -p "$work/split.part/$job" && words+=("$work/split.part/$job/$table"); done
      split_scp.sh "$input" "${words[@]}"
      mv "$work/split.part" "$work/split"
    fi
  fi
  words=()
  for ((job = 1; job <= nj; job++)); do is_done "$job" || { left+=("$job") && rm -f "$work/done.$job"; }; done
  if [ ${#left[@]} -gt 0 ]; then
    for word in "$@"; do words+=("${word//SPLIT/$split}"); done
    log "\$ $(_quoted "$@"), $nj jobs, log: ${log_name/JOB/*}"
    if [ ${#left[@]} -lt "$nj" ]; then
      log "$((nj - ${#left[@]})) of $nj jobs were done before; left: ${left[*]}"
      before=(test -e "$(protected "$work/done.JOB")" '||')
    fi
    for ((job = 1; job <= nj; job++)); do  # the log of what was done before stays
      [ ! -e "$work/done.$job" ] || mv "$(job_name "$log_name" "$job")" "$work/log.$job" 2> /dev/null || true
    done
    log_file=$log_name
    [ "$cmd" != run ] || cmd=run_local.sh
    local status=0
    launch "${words[@]}" || status=$?
    restore_logs
    for pause in 1 1 2 3; do  # all ended well, but a mark made on another machine may come late
      if [ "$status" -ne 0 ] || all_marked "${left[@]}"; then break; fi
      sleep "$pause"
    done
    report_failed "${left[@]}"
  fi
  merge_outputs
}

restore_logs() {
  local file
  for file in "$work"/log.*; do
    [ ! -e "$file" ] || mv "$file" "$(job_name "$log_name" "${file##*.}")"
  done
}

all_marked() {
  local job
  for job in "$@"; do [ -e "$work/done.$job" ] || return 1; done
}

# Fail unless jobs $@ ended well and gave what they should.
report_failed() {
  local job problem failed=() first=''
  for job in "$@"; do
    if [ ! -e "$work/done.$job" ]; then
      problem=$(grep -a '^Error: ' "$(job_name "$log_name" "$job")" 2> /dev/null | tail -n 1) || true
    else
      problem=$(wrong_outputs "$job" "$work/split/$job/$table")
      [ -n "$problem" ] || continue
      rm -f "$work/done.$job"
    fi
    failed+=("$job")
    first=${first:-$(job_name "$log_name" "$job")${problem:+ (${problem%%$'\n'*})}}
  done
  [ ${#failed[@]} -eq 0 ] || die "${#failed[@]} of $nj jobs failed: ${failed[*]}; log: $first. To mend: see the log; the same command again redoes only these jobs"
}

# All outputs of the jobs, as one, in the input's order; by rename, tables first and .json files last.
merge_outputs() {
  local name to file parts job renames=() whole=()
  for name in "${merge[@]}"; do
    to=$(merged_name "$name")
    while IFS= read -r file; do
      parts=()
      if [ -d "$(job_name "$name" 1)" ]; then
        for ((job = 1; job <= nj; job++)); do parts+=("$(job_name "$name" "$job")/${file##*/}"); done
        file=$to/${file##*/}
      else
        for ((job = 1; job <= nj; job++)); do parts+=("$(job_name "$name" "$job")"); done
        file=$to
      fi
      if [ "$check" = keys ]; then
        cat -- "${parts[@]}" | awk 'NR == FNR { line[$1] = $0; next } { print line[$1] }' - "$keys" > "$file.part"
      else
        cat -- "${parts[@]}" > "$file.part"
      fi
      renames+=("$file")
    done < <(tables "$(job_name "$name" 1)")
    while IFS= read -r file; do
      for ((job = 2; job <= nj; job++)); do
        cmp -s "$file" "$(job_name "$name" "$job")/${file##*/}" || die "$file: not the same in job $job. To mend: remove $work and run again"
      done
      rm -f "$to/${file##*/}"
      cp "$file" "$to/${file##*/}.part"
      whole+=("$to/${file##*/}")
    done < <(json_files "$(job_name "$name" 1)")
    [ ! -d "$(job_name "$name" 1)" ] || rm -f "$to/provenance.json"
  done
  for file in "${renames[@]}" "${whole[@]}"; do
    rm -f "$file.provenance.json"  # of a run by one job; these parts have their own
    mv "$file.part" "$file"
  done
}

mkdir -p "$work"
exec {lock}> "$work/lock"  # jobs inherit it: one that outlived its runner is waited for
if ! flock -n "$lock"; then
  log "$work: another run is at work here; waiting for its end"
  flock "$lock"
fi
restore_logs
what=$(fingerprint "$@")
if [ "$(head -n 1 "$work/merged" 2> /dev/null)" = "$what" ]; then
  gone=$(tail -n +2 "$work/merged" | while IFS= read -r file; do [ -e "$file" ] || echo "$file"; done)
  if [ -z "$gone" ]; then
    log "already there: ${merge[*]/JOB/*} (made by $work)"
    exit 0
  fi
fi
state="$what $nj $per_spk"
if [ -f "$work/state" ] && [ "$(cat "$work/state")" != "$state" ]; then discard; fi
rm -f "$work/merged"
echo "$state" > "$work/state"
if [ "$nj" -eq 1 ]; then run_one "$@"; else run_split "$@"; fi
{
  echo "$what"
  for name in "${merge[@]}"; do
    name=$(merged_name "$name")
    tables "$name"
    json_files "$name"
  done
} > "$work/merged.part"
mv "$work/merged.part" "$work/merged"
rm -rf "$work"/{split,done.*}
