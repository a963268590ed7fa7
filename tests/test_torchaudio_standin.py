"""torchaudio can be imported after svtk, whether or not its compiled extension loads."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

ROOT = importlib.util.find_spec("svtk").submodule_search_locations[0].rpartition("/")[0]


def python(program: str, *path: str) -> str:
    """Run *program*, whose imports are looked for in *path* first; returns what it prints."""
    first = f"import sys; sys.path[:0] = {[*map(str, path), ROOT]}\n"
    done = subprocess.run([sys.executable, "-c", first + program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fake(tmp_path, extension: str):
    """A torchaudio with an extension of one's own, and one other module that asks for it."""
    package = tmp_path / "torchaudio"
    (package / "_extension").mkdir(parents=True)
    (package / "__init__.py").write_text("from . import _extension\nfrom .other import answer\n")
    (package / "other.py").write_text("from torchaudio._extension import _IS_TORCHAUDIO_EXT_AVAILABLE as answer\n")
    (package / "_extension" / "__init__.py").write_text(extension)
    return tmp_path


def test_the_real_torchaudio():
    program = (
        "import svtk\nassert 'torchaudio' not in sys.modules and 'torch' not in sys.modules\n"
        "import torchaudio\nprint(tuple(torchaudio.functional.melscale_fbanks(201, 0.0, 8e3, 80, 16000).shape))"
    )
    assert python(program) == "(201, 80)\n"


def test_a_working_extension_is_kept(tmp_path):
    where = fake(tmp_path, "_IS_TORCHAUDIO_EXT_AVAILABLE = 'the real one'\ndef fail_if_no_align(f):\n    return f\n")
    program = (
        "import svtk, torchaudio\nprint(torchaudio.answer, torchaudio._extension.__file__)\n"
        "print(torchaudio._extension.fail_if_no_align(len)([1, 2]))"
    )
    assert python(program, where) == f"the real one {where}/torchaudio/_extension/__init__.py\n2\n"


@pytest.mark.parametrize("error", ["OSError('no libcudart')", "ImportError('undefined symbol')", "RuntimeError('ABI')"])
def test_one_that_does_not_load_is_stood_in_for(tmp_path, error):
    where = fake(tmp_path, f"_IS_TORCHAUDIO_EXT_AVAILABLE = True\nraise {error}\n")
    program = (
        "import svtk, torchaudio\nprint(torchaudio.answer, torchaudio._extension._IS_ALIGN_AVAILABLE)\n"
        "aligned = torchaudio._extension.fail_if_no_align(len)\n"
        "try:\n    aligned([1])\nexcept RuntimeError as error:\n    print(error)"
    )
    assert python(program, where).splitlines() == [
        "False False",
        "len needs torchaudio's compiled extension, which does not load",
    ]


def test_other_failures_are_not_hidden(tmp_path):
    where = fake(tmp_path, "raise ZeroDivisionError('a bug')\n")
    program = "import svtk\ntry:\n    import torchaudio\nexcept ZeroDivisionError as error:\n    print(error)"
    assert python(program, where) == "a bug\n"


def test_without_torchaudio_nothing_happens(tmp_path):
    program = "import svtk, importlib.util\nsys.path[:] = []\nprint(importlib.util.find_spec('torchaudio'))"
    assert python(program) == "None\n"
