"""SHA-256 fingerprints: what tells one set of inputs from another, so that a rerun takes up only its own work."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from typing import Any

__all__ = ["sha256_of_files", "sha256_of_json", "sha256_of_named"]


def sha256_of_json(value: Any) -> str:
    """Hexadecimal SHA-256 of a JSON-able value (tuples count as lists).

    >>> sha256_of_json(["a", 1]) == sha256_of_json(("a", 1))
    True
    """
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def sha256_of_files(files: Iterable[str | os.PathLike]) -> str:
    """Hexadecimal SHA-256 of the contents of *files* in their order; their names do not count.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as opened:
            inner = hashlib.sha256()
            while block := opened.read(1 << 20):
                inner.update(block)
            digest.update(inner.digest())
    return digest.hexdigest()


def sha256_of_named(items: Iterable[tuple[str, bytes]]) -> str:
    """Hexadecimal SHA-256 of names and bytes in their order, as of a model's weights."""
    digest = hashlib.sha256()
    for name, data in items:
        digest.update(name.encode())
        digest.update(data)
    return digest.hexdigest()
