"""svtk: small, fast speaker verification, distilled from large speech models.

``svtk.load`` and ``svtk.Verifier`` are those of :mod:`svtk.api`, imported, with torch, when they are first asked for.
"""

from __future__ import annotations

from typing import Any

import svtk.torchaudio_standin  # noqa: F401  (before anything imports torchaudio)

__version__ = "0.1.0"

_FROM_API = ("Verifier", "load")


def __getattr__(name: str) -> Any:
    if name not in _FROM_API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # no import statement: svtk's own modules stand above this one

    return getattr(import_module("svtk.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_FROM_API])
