"""Make torchaudio importable beside a torch that its compiled extension was not built for.

SpeechBrain and transformers import torchaudio. Its PyPI wheel is linked to CUDA and its extension does
not load beside a CPU-only torch, though nothing that svtk uses needs the extension. ``import svtk``
imports this module, before anything can import those: from then on, when, and only when, the compiled
extension cannot load, ``torchaudio._extension`` in ``sys.modules`` is a stand-in that says "no compiled
extension". Nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

__all__: list[str] = []

_NAME = "torchaudio._extension"


def _no_align(function: Callable[..., Any]) -> Callable[..., Any]:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"{function.__name__} needs torchaudio's compiled extension, which does not load")

    return fail


class _Loader(importlib.abc.Loader):
    """Runs the real module; where that fails, leaves the stand-in's contents in its place."""

    def __init__(self, real: importlib.abc.Loader):
        self._real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        try:
            self._real.exec_module(module)
        except (ImportError, OSError, RuntimeError):
            module._IS_TORCHAUDIO_EXT_AVAILABLE = False  # type: ignore[attr-defined]
            module._IS_ALIGN_AVAILABLE = False  # type: ignore[attr-defined]
            module.fail_if_no_align = _no_align  # type: ignore[attr-defined]


class _Finder(importlib.abc.MetaPathFinder):
    """Finds ``torchaudio._extension`` where it is and wraps its loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _NAME:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
    sys.meta_path.insert(0, _Finder())
