# Sourced by recipes: what happens, on stderr and in log files.
#
#   log MESSAGE...               a line with the time on stderr
#   die MESSAGE...               "Error: MESSAGE" on stderr, exit 1
#   run LOG COMMAND...           run a command; it is shown first, and its stderr goes to the terminal and to LOG
#   run_to FILE LOG COMMAND...   the same; its stdout becomes FILE, whole or not at all
#
# A LOG's first line is the command, its last line the status, so that a log alone tells what ran and how it ended.

log() { echo "$(date +%H:%M:%S) $*" >&2; }

die() {
  echo "Error: $*" >&2
  exit 1
}

# One command as it would be typed.
_quoted() {
  local word out=
  for word in "$@"; do
    if [[ $word =~ ^[a-zA-Z0-9_./:,=@%+-]+$ ]]; then out+=" $word"; else out+=" ${word@Q}"; fi
  done
  echo "${out# }"
}

run() {
  local log_file=$1 status=0 start=$SECONDS
  shift
  mkdir -p "$(dirname "$log_file")"
  local shown
  shown=$(_quoted "$@")${_run_to:+ > $_run_to}
  log "\$ $shown"
  echo "# $shown" > "$log_file"
  # stderr goes through tee, so the program no longer sees the terminal: say that there is one.
  local bar=${SVTK_PROGRESS:-} columns=${COLUMNS:-}
  if [ -t 2 ]; then
    bar=${bar:-bar} columns=${columns:-$(tput cols 2> /dev/null || echo 80)}
  fi
  { SVTK_PROGRESS=$bar COLUMNS=$columns "$@" 2>&1 >&3 3>&- | tee -a "$log_file" >&2 || status=${PIPESTATUS[0]}; } 3>&1
  sed -i 's/.*\r//' "$log_file"  # keep the last state of a progress bar only
  echo "# ended with status $status after $((SECONDS - start)) s" >> "$log_file"
  if [ "$status" -ne 0 ]; then
    log "failed with status $status; log: $log_file"
    exit "$status"
  fi
}

run_to() {
  local file=$1 log_file=$2
  shift 2
  mkdir -p "$(dirname "$file")"
  _run_to=$file
  run "$log_file" "$@" > "$file.part"
  _run_to=
  mv "$file.part" "$file"
}
_run_to=
