"""The family of errors and the one line each makes."""

from __future__ import annotations

import doctest

import pytest

from svtk import errors
from svtk.errors import AudioError, ConfigError, DataError, ModelError, SvtkError


def test_the_example_holds():
    assert doctest.testmod(errors) == (0, 1)


@pytest.mark.parametrize("kind", [AudioError, ConfigError, DataError, ModelError])
def test_family(kind):
    assert issubclass(kind, SvtkError)
    assert issubclass(AudioError, DataError)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({}, "bad"),
        ({"path": "f"}, "f: bad"),
        ({"path": "f", "line": 3}, "f:3: bad"),
        ({"line": 3}, "bad"),
        ({"found": "x"}, "bad; found x"),
        ({"expected": "y", "mend": "z"}, "bad; expected y. To mend: z"),
        ({"found": ""}, "bad; found"),
    ],
)
def test_what_a_message_says(parts, text):
    assert str(SvtkError("bad", **parts)) == text


def test_always_one_line():
    assert str(SvtkError("a\nb", found="c\n\n  d")) == "a b; found c d"
