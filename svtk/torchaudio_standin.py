"""Make torchaudio importable beside a torch that its compiled extension was not built for.

SpeechBrain and transformers import torchaudio. Its PyPI wheel is linked to CUDA and its extension does
not load beside a CPU-only torch, though nothing that svtk uses needs the extension. Import this module
before either of them: when, and only when, the compiled extension cannot load, a stand-in for
``torchaudio._extension`` that says "no compiled extension" takes its place in ``sys.modules``.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from typing import Any

__all__: list[str] = []

_NAME = "torchaudio._extension"


def _no_align(function: Callable[..., Any]) -> Callable[..., Any]:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"{function.__name__} needs torchaudio's compiled extension, which does not load")

    return fail


def _stand_in() -> types.ModuleType:
    module = types.ModuleType(_NAME, "Stand-in: torchaudio without its compiled extension.")
    module._IS_TORCHAUDIO_EXT_AVAILABLE = False  # type: ignore[attr-defined]
    module._IS_ALIGN_AVAILABLE = False  # type: ignore[attr-defined]
    module.fail_if_no_align = _no_align  # type: ignore[attr-defined]
    return module


def _install() -> None:
    if "torchaudio" in sys.modules:
        return
    try:
        importlib.import_module("torchaudio")
    except ModuleNotFoundError:
        return  # not installed: whoever imports it says so
    except (ImportError, OSError, RuntimeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules[_NAME] = _stand_in()


_install()
