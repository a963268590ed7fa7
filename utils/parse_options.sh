# Sourced after a script's option variables: turns --some-name VALUE and --some-name=VALUE into some_name=VALUE.
#
#   #!/usr/bin/env bash
#   help_message="usage: $0 [options] DATA_DIR"
#   nj=4            # how many jobs
#   . utils/parse_options.sh
#   data=$1
#
# Only a variable that the script has set above may be an option. A value is taken as it stands; none is ever evaluated.
# An option whose default is true or false takes only true or false. Options end at the first other word, or at --;
# what is left is in "$@". --help prints $help_message and every "name=default  # text" line of the script, so that
# the help cannot drift from the options. Wrong usage: one Error: line, exit 2.
# --config FILE is sourced first, wherever it stands among the options, so that the command line overrides it; it is
# the one option that runs what it names. An empty --cmd, easily made by a slip in cmd.sh, is refused.
# The interface is that of Kaldi's utils/parse_options.sh; beyond it, --name=VALUE and the help made from the script.

_options_help() {
  local script=$1 line name value text
  [ -z "${help_message:-}" ] || printf '%s\n' "$help_message"
  echo "options:"
  while IFS= read -r line; do
    case $line in
      *parse_options.sh*) [[ $line =~ ^(\.|source)[[:space:]] ]] && break ;;
    esac
    if [[ $line =~ ^([a-z][a-z0-9_]*)=([^#]*[^#[:space:]])?[[:space:]]+#[[:space:]](.*)$ ]]; then
      name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]} text=${BASH_REMATCH[3]}
      value=${value#[\"\']} value=${value%[\"\']}
      printf '  --%-18s %s%s\n' "${name//_/-}" "$text" "${value:+ [$value]}"
    fi
  done < "$script"
  printf '  --%-18s %s\n' config "file of NAME=VALUE lines, sourced before the other options"
}

# True when the script has set variable $1; one that merely came with the environment must stand in the script $2.
_options_declared() {
  local flags
  [[ $1 =~ ^[a-z][a-z0-9_]*$ ]] && [ -n "${!1+set}" ] || return 1
  flags=$(declare -p "$1")
  flags=${flags#declare -}
  [[ ${flags%% *} != *x* ]] || grep -q "^[[:space:]]*\(export \)\?$1=" "$2"
}

# True when the word $1 is an option of script $2 itself, so that it cannot be the value of the one before.
_options_is_one() {
  [[ $1 =~ ^--([a-z][a-z0-9_-]*)(=.*)?$ ]] && _options_declared "${BASH_REMATCH[1]//-/_}" "$2"
}

_options_error() {
  echo "Error: $0: $1. To mend: see $0 --help" >&2
  exit 2
}

# Sources the FILE of --config FILE among the options "$@"; a path without a slash is one of this directory.
_options_config() {
  local file
  while [[ $# -gt 0 && $1 == --?* ]]; do
    if [[ $1 == --config=* || ($1 == --config && $# -gt 1) ]]; then
      if [[ $1 == *=* ]]; then file=${1#*=}; else file=$2; fi
      [ -r "$file" ] && [ ! -d "$file" ] || _options_error "option --config: no readable file '$file'"
      [[ $file == */* ]] || file=./$file
      # shellcheck disable=SC1090  # the caller's
      . "$file"
    fi
    if [[ $1 == *=* || $# -lt 2 ]]; then shift; else shift 2; fi
  done
}

config=${config:-}
_options_config "$@"
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h)
      _options_help "${BASH_SOURCE[1]:-$0}"
      exit 0
      ;;
    --)
      shift
      break
      ;;
    --*)
      _option=${1%%=*}
      _name=${_option#--}
      _name=${_name//-/_}
      [ "$_name" = config ] || _options_declared "$_name" "${BASH_SOURCE[1]:-$0}" || _options_error "no option $_option"
      if [ "$_option" != "$1" ]; then
        _value=${1#*=}
        shift
      elif [ $# -lt 2 ] || _options_is_one "$2" "${BASH_SOURCE[1]:-$0}"; then
        _options_error "option $_option needs a value; found ${2:-the end of the line}"
      else
        _value=$2
        shift 2
      fi
      if [[ ${!_name} == true || ${!_name} == false ]] && [[ $_value != true && $_value != false ]]; then
        _options_error "option $_option takes true or false; found '$_value'"
      fi
      printf -v "$_name" '%s' "$_value"
      ;;
    *) break ;;
  esac
done
[ -n "${cmd-unset}" ] || _options_error "option --cmd is empty"
unset _option _name _value
true  # whoever sources this under set -e goes on
