# Sourced by the recipe: where svtk is, and the sort order that Kaldi's tools expect.
SVTK_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export SVTK_ROOT
export PATH=$SVTK_ROOT/bin:$SVTK_ROOT/utils:$PATH
export LC_ALL=C
