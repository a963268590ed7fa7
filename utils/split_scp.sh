#!/usr/bin/env bash
# Split a table (scp, utt2spk, trial list ...) into as many parts as there are OUT files, in its order and as evenly as
# can be, as Kaldi's split_scp.pl. With --utt2spk the lines of a speaker stay together.
set -euo pipefail
help_message="usage: $0 [options] IN OUT...
example: $0 --utt2spk data/utt2spk data/wav.scp part1.scp part2.scp"
utt2spk=  # keep each of its speakers in one part
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"
. "$(dirname "${BASH_SOURCE[0]}")/log.sh"

[ $# -ge 2 ] || _options_error "found $# arguments, expected IN OUT..."
files=()  # as awk needs them: NAME=VALUE would be an assignment
for file in "${utt2spk:-/dev/null}" "$@"; do
  if [[ $file == /* ]]; then files+=("$file"); else files+=("./$file"); fi
done
for file in ${utt2spk:+"${files[0]}"} "${files[1]}"; do [ -s "$file" ] || die "$file is missing or empty"; done

# shellcheck disable=SC2016  # awk's
exec awk '
  function fail(what) { print "Error: " what > "/dev/stderr"; failed = 1; exit 1 }
  BEGIN { for (i = 3; i < ARGC; i++) out[++parts] = ARGV[i]; ARGC = 3 }
  NR == FNR && ARGV[1] != "/dev/null" { spk[$1] = $2; next }
  {
    line[++lines] = $0
    group = lines
    if (ARGV[1] != "/dev/null") {
      if (!($1 in spk)) fail(ARGV[2] ":" FNR ": \"" $1 "\" is not in " ARGV[1])
      group = spk[$1]
    }
    if (!(group in size)) order[++groups] = group
    size[group]++
    of[lines] = group
  }
  END {
    if (failed) exit 1
    if (groups < parts) fail(ARGV[2] ": " groups (ARGV[1] == "/dev/null" ? " line(s)" : " speaker(s)") " cannot fill " parts " parts. To mend: ask for no more than " groups)
    # A part is full when, with it, the parts so far have their share, or when only one group is left for each other.
    part = 1
    for (i = 1; i <= groups; i++) {
      part_of[order[i]] = part
      taken += size[order[i]]
      if (part < parts && (taken * parts >= part * lines || groups - i == parts - part)) part++
    }
    for (i = 1; i <= lines; i++) { part = part_of[of[i]]; member[part, ++count[part]] = i }
    for (part = 1; part <= parts; part++) {
      printf "" > out[part]
      for (i = 1; i <= count[part]; i++) print line[member[part, i]] > out[part]
      if (close(out[part]) != 0) fail(out[part] ": cannot be written")
    }
  }
' "${files[@]}"
