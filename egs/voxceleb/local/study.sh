#!/usr/bin/env bash
# Does the paper's claim hold on the real speech at hand? Trains the matrix local/study.yaml, one CPU core a run, and
# keeps a small JSON file of each run in results/study. After a kill, the same command goes on where it stopped.
set -euo pipefail
_local=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$_local/../path.sh"
. "$SVTK_ROOT/utils/log.sh"

help_message="usage: $0 [options]
examples:
  $0 --corpus-dir corpora/speechocean762 --whisper models/whisper-base-encoder --dvector Resemblyzer-0.1.4-py3-none-any.whl
  $0 --report true --results results/study --into RESULTS.md --page exp/study/report.html"

group=all          # main, rates, students, kd, teachers, backends, frontend or beyond; all: every run
only=              # NAME,NAME ...: only these runs of the group
corpus_dir=        # ROOT/train/SPK/UTT.ext, ROOT/test/...; noise and rooms in ROOT or beside it, as run.sh looks for them
whisper=           # directory of Whisper's encoder (save_pretrained), the teacher [without it runs that it teaches are left out]
dvector=           # the wheel of resemblyzer 0.1.4, whose embeddings teach, too [without it runs that it teaches are left out]
layers=2,4,6       # of Whisper, that are kept as teacher targets: all that the matrix's KD compares with
nj=1               # runs side by side, each of one thread; the results are the same
seeds=             # so many seeds of each run, from 0 on [as the matrix says]
smoke=false        # two students, one seed, on a synthetic corpus, in a minute; with --whisper KD from it, too
report=false       # train nothing: only the tables of the results that are there, as Markdown
into=              # the tables also go into this Markdown file, between its lines "<!-- study: begin -->" and "... end -->"
page=              # and all there is to see to this HTML page, with figures
device=cpu         # cpu, cuda ...
matrix=            # what is trained [local/study.yaml]
data=              # data directories [data/study]
exp=               # models and scores [exp/study]
results=           # results, one small JSON file each [EXP/results]; svtk's own, on speechocean762, are in results/study
num_valid_spks=12  # speakers held out of training for validation
. "$SVTK_ROOT/utils/parse_options.sh"

[ $# -eq 0 ] || _options_error "found '$1', expected options only"
[[ $nj =~ ^[1-9][0-9]*$ ]] || _options_error "--nj $nj: expected a whole number of at least 1"
[[ $seeds =~ ^[0-9]*$ ]] || _options_error "--seeds $seeds: expected a whole number"
[ -z "$into" ] || [ -w "$into" ] || die "--into $into: no such file, or not writable"
if [ "$smoke" = true ]; then
  matrix=${matrix:-$_local/study_smoke.yaml} data=${data:-$_local/../data/study_smoke} exp=${exp:-$_local/../exp/study_smoke}
  num_valid_spks=2 layers=last
fi
matrix=${matrix:-$_local/study.yaml}
data=$(realpath -m -- "${data:-$_local/../data/study}")
exp=$(realpath -m -- "${exp:-$_local/../exp/study}")
results=$(realpath -m -- "${results:-$exp/results}")
[[ $exp != *[[:space:]]* ]] || _options_error "--exp $exp: white space in its path is not supported"
python=${SVTK_PYTHON:-$SVTK_ROOT/.venv/bin/python}  # as bin/svtk chooses it
[ -n "${SVTK_PYTHON:-}" ] || [ -x "$python" ] || python=python3
export PYTHONPATH=$SVTK_ROOT${PYTHONPATH:+:$PYTHONPATH}
study() { "$python" "$_local/study.py" "$@"; }
report() {  # the draws are made while the scores are there, and kept in the results
  study draws "$results" "$exp" "$data"
  "$python" "$_local/study_report.py" "$matrix" "$results" "$into" "$page"
}
if [ "$report" = true ]; then
  report
  exit
fi

# What is wrong with the matrix, and results that it does not describe, show now.
listed=$(study list "$matrix" "$group" "${seeds:-0}" "$only")
mkdir -p "$exp/log" "$data"
study configs "$matrix" "$group" "$SVTK_ROOT/conf" "$exp" "$results"
if [ "$smoke" = true ]; then
  corpus_dir=$data/corpus
  [ -d "$corpus_dir" ] || svtk make-demo-corpus --num-spks 10 --num-test-spks 4 --utts-per-spk 3 "$corpus_dir"
fi
[ -n "$corpus_dir" ] || _options_error "--corpus-dir ROOT is needed"
corpus_dir=$(realpath -- "$corpus_dir")
for name in whisper dvector; do
  [ -z "${!name}" ] || [ -e "${!name}" ] || die "--$name ${!name}: no such file or directory"
  [ -z "${!name}" ] || printf -v "$name" '%s' "$(realpath -- "${!name}")"
done

noted() {  # noted NAME VALUE: what EXP was begun with; another corpus or teacher would leave tables of both
  local file=$exp/$1.input
  [ -n "$2" ] || return 0
  [ -s "$file" ] || echo "$2" > "$file"
  [ "$(cat "$file")" = "$2" ] \
    || die "$exp was made with $(cat "$file"), not with $2. To mend: another --exp, --data and --results, or remove $file if both are the same"
}
noted corpus_dir "$corpus_dir"
noted whisper "$whisper"
noted dvector "$dvector"

log "data: $corpus_dir → $data"
"$_local/../run.sh" --corpus folder --corpus-dir "$corpus_dir" --data "$data" --exp "$exp/prepare" \
  --num-valid-spks "$num_valid_spks" --stop-stage 2

# What each teacher gives, made when a run of the group needs it, and how well it verifies.
export OMP_NUM_THREADS=1
crop=$(study crop "$matrix" "$SVTK_ROOT/conf")
targets_of() {  # targets_of NAME SOURCE: hidden states of the training data
  run "$exp/log/targets_$1.log" svtk extract-targets --teacher "$2" --layers "$layers" --compress two-byte \
    --min-duration "$crop" --device "$device" "$data/train" "$exp/targets/$1"
}
train_teacher() {  # train_teacher NAME VERB...: by a verb with its options
  local dir=$exp/teachers/$1 augment=()
  [ ! -d "$data/noise" ] || augment=(--noise "$data/noise")
  run "$exp/log/teacher_$1.log" svtk "${@:2}" --valid "$data/valid" --valid-trials "$data/trials/valid" \
    --device "$device" "${augment[@]}" "$data/train" "$dir"
  [ -s "$dir/test.scp" ] || run "$exp/log/extract_teacher_$1.log" \
    svtk extract-embeddings --device "$device" "$dir" "$data/test" "ark,scp:$dir/test.ark,$dir/test.scp"
}
train_whisper() {  # its backend alone
  local config=$SVTK_ROOT/conf/study_teacher.yaml
  [ "$smoke" = false ] || config=$_local/study_smoke_teacher.yaml
  train_teacher whisper train-teacher --config "$config" --encoder "$whisper"
}
measure_teacher() {
  local dir=$exp/teachers/$1
  "$_local/study_measure.sh" "$data" "$dir" "$dir/test.scp" "$exp/log/teacher_$1"
  [ -s "$results/teacher_$1.json" ] || study result "teacher_$1" 0 none "$dir" "$device" "$results/teacher_$1.json"
}
ready=" none "
for teacher in $(cut -d ' ' -f 3 <<< "$listed" | tr + '\n' | sort -u); do
  case $teacher in
    whisper | whisper_tuned) [ -n "$whisper" ] || { log "no --whisper: runs taught by $teacher are left out" && continue; } ;;
    dvector) [ -n "$dvector" ] || { log "no --dvector: runs taught by it are left out" && continue; } ;;
  esac
  log "teacher: $teacher"
  mkdir -p "$exp/teachers/$teacher"
  case $teacher in
    whisper)
      targets_of whisper "$whisper"
      train_whisper
      measure_teacher whisper
      ;;
    whisper_tuned)
      train_whisper  # first the backend, then both
      train_teacher whisper_tuned fine-tune --config "$SVTK_ROOT/conf/study_teacher_tuned.yaml" --model "$exp/teachers/whisper"
      targets_of whisper_tuned "$exp/teachers/whisper_tuned"
      measure_teacher whisper_tuned
      ;;
    dvector)
      for set in train test; do
        to=$exp/teachers/dvector/$set
        [ -s "$to.scp" ] || run "$exp/log/dvector_$set.log" \
          "$python" "$_local/dvector.py" "$dvector" "$data/$set" "ark,scp:$to.ark,$to.scp"
      done
      measure_teacher dvector
      ;;
  esac
  ready+="$teacher "
done

# The runs, first seeds first; each leaves its result when it is whole.
runs=()
while read -r name seed teacher; do
  [ -n "$name" ] || continue  # nothing is listed
  options=
  for one in ${teacher//+/ }; do
    [[ $ready == *" $one "* ]] || continue 2
    case $one in
      none) ;;
      dvector) options+=" --teacher-embeddings scp:$exp/teachers/dvector/train.scp" ;;
      *) options+=" --targets $exp/targets/$one" ;;
    esac
  done
  runs+=("$name $seed$options")
done <<< "$listed"
log "${#runs[@]} runs, $nj side by side → $results"
export _local python data exp results device
one() {
  local id=$1.seed$2
  [ ! -s "$results/$id.json" ] || return 0
  if "$_local/study_run.sh" "$1" "$2" "$data" "$exp" "$results" "$device" "${@:3}" > "$exp/log/$id.log" 2>&1; then
    echo "$(date +%H:%M:%S) $id: done" >&2
  else
    echo "$(date +%H:%M:%S) $id: failed; log: $exp/log/$id.log" >&2
    return 1
  fi
}
export -f one
# shellcheck disable=SC2016  # the shell that xargs starts expands these
failed=
printf '%s\n' "${runs[@]}" | xargs -r -P "$nj" -L 1 bash -c 'one "$@"' _ || failed=yes

if [ -z "$failed" ] || compgen -G "$results/*.json" > /dev/null; then report; fi
[ -z "$failed" ] || die "runs failed; their logs are named above. To mend: see there; the same command again goes on"
