"""What all tests share: no test reaches a model hub, and hypothesis may look at every imported module."""

from __future__ import annotations

import os
import sys

import pytest

import svtk  # noqa: F401  (its torchaudio stand-in must be there before a test imports SpeechBrain)

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # models of a few thousand weights gain nothing from more


def _lazy_modules_have_no_file() -> None:
    """hypothesis asks every module for its ``__file__``; SpeechBrain's lazy ones would import k2 and more for that."""
    importutils = sys.modules.get("speechbrain.utils.importutils")
    if importutils is not None:
        importutils.LazyModule.__file__ = None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items):
    _lazy_modules_have_no_file()
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    _lazy_modules_have_no_file()
