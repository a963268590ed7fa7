"""``python -m svtk``, as bin/svtk runs it: perhaps by a Python that svtk's requirements were not installed into."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    try:
        from svtk.cli.main import main

        main()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "svtk":
            raise
        mend = "install svtk into it (README.md), or name another Python by SVTK_PYTHON"
        sys.exit(f"Error: {sys.executable} has no module {error.name!r}. To mend: {mend}")
