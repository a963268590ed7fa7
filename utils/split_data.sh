#!/usr/bin/env bash
# Split a Kaldi data directory into parts of about as many utterances each, as Kaldi's split_data.sh: speakers stay
# whole, or with --per-utt only utterances. Each part is a data directory: all tables of utterances (utt2*, segments,
# text, feats.scp, vad.scp), of speakers (spk2*, cmvn.scp) and of recordings (wav.scp, reco2*) are split, and so is the
# Lhotse manifest where it is there and not older than they are, so that no part opens its audio to make one.
set -euo pipefail
usage="usage: $0 [--per-utt] DATA_DIR NUM_PARTS [OUT_DIR]
makes OUT_DIR/1 ... OUT_DIR/NUM_PARTS [DATA_DIR/splitNUM_PARTS, with --per-utt DATA_DIR/splitNUM_PARTSutt]"
here=$(dirname "${BASH_SOURCE[0]}")
. "$here/log.sh"

per_utt=
case ${1:-} in
  --per-utt) per_utt=utt && shift ;;
  -h | --help) echo "$usage" && exit 0 ;;
esac
if [ $# -lt 2 ] || [ $# -gt 3 ] || ! [[ $2 =~ ^[1-9][0-9]*$ ]]; then
  echo "$usage" >&2
  exit 2
fi
data=$1 parts=$2 out=${3:-$1/split$2$per_utt}
[[ $data == /* ]] || data=./$data
for name in wav.scp utt2spk; do
  [ -s "$data/$name" ] || die "$data/$name is missing or empty. To mend: svtk fix-data, or prepare the data directory again"
done

part=$out.part
rm -rf "$part"
mkdir -p "$part"
trap 'rm -rf "$part"' EXIT
to=()
for ((i = 1; i <= parts; i++)); do
  mkdir "$part/$i"
  to+=("$part/$i/utt2spk")
done
by_spk=()
[ -n "$per_utt" ] || by_spk=(--utt2spk "$data/utt2spk")
"$here/split_scp.sh" "${by_spk[@]}" "$data/utt2spk" "${to[@]}"

# Which parts (one or several) each utterance, speaker and recording goes to: "ID PART".
for ((i = 1; i <= parts; i++)); do awk -v part="$i" '{ print $1, part }' "$part/$i/utt2spk"; done > "$part/utts"
for ((i = 1; i <= parts; i++)); do
  awk -v part="$i" '!seen[$2]++ { print $2, part }' "$part/$i/utt2spk"
  awk '!($2 in utts) { order[++n] = $2 } { utts[$2] = utts[$2] " " $1 } END { for (i = 1; i <= n; i++) print order[i] utts[order[i]] }' \
    "$part/$i/utt2spk" > "$part/$i/spk2utt"
done > "$part/spks"
if [ -f "$data/segments" ]; then
  awk 'NR == FNR { part[$1] = $2; next } $1 in part && !seen[$2, part[$1]]++ { print $2, part[$1] }' \
    "$part/utts" "$data/segments" > "$part/recordings"
else
  cp "$part/utts" "$part/recordings"
fi

# split_by IDS FILE: the lines of FILE to the parts where their first word is wanted, in FILE's order.
split_by() {
  awk -v root="$part" -v name="$(basename "$2")" '
    NR == FNR { parts[$1] = parts[$1] " " $2; next }
    {
      count = split(parts[$1], wanted, " ")
      for (i = 1; i <= count; i++) {
        file = root "/" wanted[i] "/" name
        if (file != open) { if (open != "") close(open); open = file }
        print >> file
      }
    }' "$part/$1" "$2"
}
for file in "$data"/*; do
  case ${file##*/} in
    utt2spk | spk2utt) ;;
    utt2* | segments | text | feats.scp | vad.scp) split_by utts "$file" ;;
    spk2* | cmvn.scp) split_by spks "$file" ;;
    wav.scp | reco2*) split_by recordings "$file" ;;
  esac
done

manifest=$data/cuts.jsonl.gz
for file in "$data"/{wav.scp,segments,utt2spk,utt2dur,spk2gender}; do
  [ ! "$file" -nt "$manifest" ] || manifest=
done
if [ -n "$manifest" ] && [ -f "$manifest" ]; then
  # A line begins with {"id": "UTT". An id that JSON writes otherwise is not found, and its part goes without.
  zcat "$manifest" | awk '{ id = $0; sub(/^[{]"id": "/, "", id); sub(/".*/, "", id); print id "\t" $0 }' > "$part/cuts.jsonl"
  split_by utts "$part/cuts.jsonl"
  for ((i = 1; i <= parts; i++)); do
    file=$part/$i/cuts.jsonl
    if [ -f "$file" ] && [ "$(wc -l < "$file")" -eq "$(wc -l < "$part/$i/utt2spk")" ]; then
      cut -f 2- "$file" | gzip -n > "$file.gz"
    fi
    rm -f "$file"
  done
fi

rm -f "$part"/{utts,spks,recordings,cuts.jsonl}
rm -rf "$out"
mv "$part" "$out"
