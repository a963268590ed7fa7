#!/usr/bin/env bash
# One run of the study: train, embed, score, measure; then its result. study.sh calls it; what is there is not made again.
set -euo pipefail
[ $# -ge 6 ] || { echo "usage: $0 NAME SEED DATA EXP RESULTS DEVICE [DISTILL_OPTION...]" >&2; exit 2; }
python=${python:-python3}  # study.sh's
name=$1 seed=$2 data=$3 exp=$4 results=$5 device=$6
shift 6  # what is left says who teaches
_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$_here/../path.sh"
. "$SVTK_ROOT/utils/log.sh"
export OMP_NUM_THREADS=1  # the result is the same however many runs go side by side

id=$name.seed$seed
dir=$exp/$name/seed$seed
log_dir=$exp/log/$id
mkdir -p "$dir" "$results"
exec {lock}> "$dir.lock"  # of a study that was killed, a run may still be at work
flock "$lock"
[ ! -s "$results/$id.json" ] || exit 0

augment=()
[ ! -d "$data/noise" ] || augment=(--noise "$data/noise")
[ -s "$dir.times" ] || echo begun >> "$dir.attempts"
# also where it is trained: distill then says at once so, or that this is another run
run "$log_dir.distill.log" svtk distill --config "$exp/$name/config.yaml" --train "$data/train" --valid "$data/valid" \
  --valid-trials "$data/trials/valid" --seed "$seed" --device "$device" --no-tensorboard "${augment[@]}" "$@" "$dir"
if [ ! -s "$dir.times" ]; then
  times > "$dir.times.part"
  mv "$dir.times.part" "$dir.times"
fi
[ -s "$dir/size.json" ] || run_to "$dir/size.json" "$log_dir.describe.log" svtk describe --json "$dir"
[ -s "$dir/test.scp" ] || run "$log_dir.extract.log" \
  svtk extract-embeddings --device "$device" "$dir" "$data/test" "ark,scp:$dir/test.ark,$dir/test.scp"
"$_here/study_measure.sh" "$data" "$dir" "$dir/test.scp" "$log_dir"
"$python" "$_here/study.py" result "$name" "$seed" "$exp/$name/run.json" "$dir" "$device" "$results/$id.json"
