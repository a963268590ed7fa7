#!/usr/bin/env bash
# Split a Kaldi data directory in two by speaker. The held-out speakers are spread evenly over spk2utt,
# so the same directory and number always give the same split.
set -euo pipefail
help_message="usage: $0 [options] DATA_DIR HELD_OUT_DIR REST_DIR
example: $0 --num-spks 40 data/vox2_dev data/valid data/train"
num_spks=10  # how many speakers to hold out
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"
. "$(dirname "${BASH_SOURCE[0]}")/log.sh"

[ $# -eq 3 ] || _options_error "found $# arguments, expected DATA_DIR HELD_OUT_DIR REST_DIR"
data=$1 held=$2 rest=$3
for name in wav.scp utt2spk spk2utt; do
  [ -s "$data/$name" ] || die "$data/$name is missing or empty. To mend: prepare the data directory again"
done
total=$(wc -l < "$data/spk2utt")
[[ $num_spks =~ ^[0-9]+$ ]] && [ "$num_spks" -gt 0 ] && [ "$num_spks" -lt "$total" ] \
  || die "$data/spk2utt: cannot hold out $num_spks speakers of $total"

# Speaker i of n goes to the held-out side when i * num_spks / n passes a whole number.
write() {  # write SIDE DIR, SIDE 1 = held out
  local dir=$2 name
  mkdir -p "$dir"
  rm -f "$dir"/{wav.scp,segments,utt2spk,spk2utt,utt2dur,reco2dur,spk2gender,cuts.jsonl.gz}
  awk -v k="$num_spks" -v n="$total" -v side="$1" \
    '(int((NR - 1) * k / n) != int(NR * k / n)) == side' "$data/spk2utt" > "$dir/spk2utt"
  awk 'NR == FNR { keep[$1]; next } $2 in keep' "$dir/spk2utt" "$data/utt2spk" > "$dir/utt2spk"
  if [ -f "$data/segments" ]; then
    awk 'NR == FNR { keep[$1]; next } $1 in keep' "$dir/utt2spk" "$data/segments" > "$dir/segments"
  fi
  [ ! -f "$data/utt2dur" ] || awk 'NR == FNR { keep[$1]; next } $1 in keep' "$dir/utt2spk" "$data/utt2dur" > "$dir/utt2dur"
  [ ! -f "$data/spk2gender" ] || awk 'NR == FNR { keep[$1]; next } $1 in keep' "$dir/spk2utt" "$data/spk2gender" > "$dir/spk2gender"
  if [ -f "$dir/segments" ]; then
    awk 'NR == FNR { keep[$2]; next } $1 in keep' "$dir/segments" "$data/wav.scp" > "$dir/wav.scp.part"
  else
    awk 'NR == FNR { keep[$1]; next } $1 in keep' "$dir/utt2spk" "$data/wav.scp" > "$dir/wav.scp.part"
  fi
  mv "$dir/wav.scp.part" "$dir/wav.scp"  # last: a directory with a wav.scp is whole
}
write 1 "$held"
write 0 "$rest"
log "$data: $num_spks of $total speakers to $held, the others to $rest"
