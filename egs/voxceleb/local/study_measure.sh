#!/usr/bin/env bash
# The scores and metrics of embeddings of the test set, into DIR/eval_TRIALS; what is there is not made again.
set -euo pipefail
[ $# -eq 4 ] || { echo "usage: $0 DATA DIR EMBEDDINGS_SCP LOG_PREFIX" >&2; exit 2; }
data=$1 dir=$2 embeddings=$3 log_prefix=$4
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
. "$SVTK_ROOT/utils/log.sh"
for trials in test test_same_sex; do
  [ -s "$data/trials/$trials" ] || continue
  to=$dir/eval_$trials
  mkdir -p "$to"
  [ -s "$to/scores" ] || run "$log_prefix.score_$trials.log" \
    svtk score "$data/trials/$trials" "scp:$embeddings" "scp:$embeddings" "$to/scores"
  [ -s "$to/metrics.json" ] || run_to "$to/metrics.json" "$log_prefix.metrics_$trials.log" \
    svtk compute-metrics --json --utt2spk "$data/test/utt2spk" "$to/scores" "$data/trials/$trials"
done
