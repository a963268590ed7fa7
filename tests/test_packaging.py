"""The source archive and the wheel, built as `make dist` builds them; the wheel's svtk far from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from svtk import __version__

ROOT = Path(__file__).parents[1]
README = ("README.md", "LICENSE", "CHANGELOG.md")


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The directory of what was built, from a copy that holds what git does."""
    place = tmp_path_factory.mktemp("packaging")
    checkout = place / "checkout"
    for name in ("svtk", "conf"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*("setup.py", "pyproject.toml", "MANIFEST.in", "constraints.txt"), *README):
        shutil.copy(ROOT / name, checkout / name)
    words = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(place / "dist"), str(checkout)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return place / "dist"


@pytest.fixture(scope="module")
def installed(dist, tmp_path_factory):
    """Runs the wheel's svtk, from a directory and with a PATH that know no checkout; gives its stdout."""
    site = tmp_path_factory.mktemp("site")
    [wheel] = dist.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target")
    subprocess.run([*pip, str(site), str(wheel)], check=True)

    def run(*words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
        done = subprocess.run([site / "bin/svtk", *words], cwd=site, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.site = site
    return run


def test_the_source_archive_holds_the_configurations(dist):
    [archive] = dist.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {"LICENSE", "CHANGELOG.md", "conf/distill_sv_mixer.yaml", "conf/vad.conf", "svtk/cli/main.py"} <= names


def test_the_wheel_holds_all_that_svtk_reads(dist):
    [wheel] = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [metadata] = (archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    assert {f"svtk/conf/{file.name}" for file in (ROOT / "conf").iterdir()} <= names
    checkout = dist.parent / "checkout"
    files = [file for file in (checkout / "svtk").rglob("*") if file.is_file()]
    assert len(files) > 100 and {str(file.relative_to(checkout)) for file in files} <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/", "conf/"))]
    assert f"\nVersion: {__version__}\n" in metadata and "Apache-2.0" in metadata


def test_svtk_works_far_from_the_checkout(installed):
    assert installed("--version") == f"svtk, version {__version__}\n"
    assert installed("describe", "demo_distill_sv_mixer").startswith("part  ")


def test_the_wheels_own_configurations_are_found_by_name(installed):
    script = "import svtk.config; print(svtk.config.find_config('demo_lmft'))"
    environment = {**os.environ, "PYTHONPATH": str(installed.site), "PYTHONSAFEPATH": "1"}
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, cwd=installed.site, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{installed.site}/svtk/conf/demo_lmft.yaml\n"
