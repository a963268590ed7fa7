"""Fingerprints are plain SHA-256 (reruns of older directories depend on it) and see every change."""

from __future__ import annotations

from hashlib import sha256

import pytest

from svtk.fingerprint import sha256_of_files, sha256_of_json, sha256_of_named


def test_of_json():
    assert sha256_of_json([("a", 1, None)]) == sha256(b'[["a", 1, null]]').hexdigest()
    assert sha256_of_json(["a"]) != sha256_of_json(["b"])


def test_of_files(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    files = [tmp_path / "a", tmp_path / "b"]
    expected = sha256(sha256(b"one").digest() + sha256(b"two").digest()).hexdigest()
    assert sha256_of_files(files) == expected
    assert sha256_of_files(reversed(files)) != expected
    large = bytes(range(256)) * 10_000
    (tmp_path / "large").write_bytes(large)
    assert sha256_of_files([tmp_path / "large"]) == sha256(sha256(large).digest()).hexdigest()
    (tmp_path / "b").write_bytes(b"twO")
    assert sha256_of_files(files) != expected
    with pytest.raises(FileNotFoundError):
        sha256_of_files([tmp_path / "c"])


def test_of_named():
    assert sha256_of_named([("w", b"12"), ("b", b"3")]) == sha256(b"w12b3").hexdigest()
