"""Command-line verbs, one thin file each; ``svtk/cli/make_trials.py`` is ``svtk make-trials``."""
