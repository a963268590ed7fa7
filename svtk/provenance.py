"""What a file was made of, and how: ``FILE.provenance.json`` beside it, ``DIR/provenance.json`` in a directory.

The name says what it is and keeps the whole name of its file, so that neither a file of a user's nor the record of
another file bears it by chance. A record holds

============  ==========================================================================================
``command``   the words of the command line; ``directory`` that its relative paths are of; ``date`` (UTC)
``svtk``      version; git revision, of a checkout; SHA-256 of svtk's own source
``versions``  of Python and of the packages that took part; ``platform``: system, processor
``settings``  all options by name, defaults too
``inputs``    by name: path, bytes, time of last change, SHA-256; of a script file its archives; of a
              directory the files that make it what it is; and ``provenance``, the input's own record
``outputs``   the same of what was made
============  ==========================================================================================

A file is hashed once: its SHA-256 is taken from the record of who wrote it while size and time are still the same. An
input of more than 64 MiB without such a record is known by size and time alone (``sha256`` null): to hash it would
take a twentieth of the time of scoring it; the files of a directory, such as a model, are hashed whatever their size.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from svtk import __version__
from svtk.errors import DataError

__all__ = [
    "Source",
    "describe_inputs",
    "describing",
    "forget",
    "is_unchanged",
    "read_record",
    "record_path",
    "recorded",
    "stamp",
    "this_run",
]

#: the files that make a directory what it is: data, a model, a pretrained encoder, teacher targets
_IDENTITY = (
    *("wav.scp", "segments", "utt2spk", "targets.json", "utt2num_frames"),
    *("config.yaml", "config.json", "*.safetensors", "pytorch_model*.bin", "*.onnx", "encoder/*.safetensors"),
)
_PACKAGES = (
    *("numpy", "scipy", "pyarrow", "kaldiio", "torch", "torchaudio", "lhotse", "soundfile", "speechbrain"),
    *("transformers", "onnxruntime", "k2"),
)
_HASHED = 1 << 26  # bytes
_BLOCK = 1 << 20
_ROOT = Path(__file__).resolve().parent
_MAX_ARCHIVES = 1000  # of a script file; with more, one file per key, they are counted only


@dataclasses.dataclass(frozen=True)
class Source:
    """An input as it was named: ``name``; ``path`` of its file or directory, None where ``kind`` (stdin, pipe) says
    that there is none; ``is_script``, a script file, whose archives count."""

    name: str
    path: str | None
    kind: str = "file"
    is_script: bool = False


def record_path(path: str | os.PathLike) -> Path:
    """Where the record of a file, or of a directory, lies."""
    path = Path(path)
    return path / "provenance.json" if path.is_dir() else path.with_name(f"{path.name}.provenance.json")


def forget(path: str | os.PathLike) -> None:
    """Remove the record of a file that is about to be another; nothing where there is none."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(f"{os.fspath(path)}.provenance.json")


def stamp(path: str | os.PathLike) -> dict[str, Any] | None:
    """Size and time of last change (UTC, to the nanosecond) of a regular file; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    seconds, nanoseconds = divmod(found.st_mtime_ns, 10**9)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return {"bytes": found.st_size, "modified": f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}Z"}


def read_record(path: str | os.PathLike, *, by_content: bool = False) -> dict[str, Any] | None:
    """The record of a file or directory, or the one within a JSON file (``provenance``); None where there is none.

    One that speaks of another state of the file (it was written over since) is none; with *by_content*, a file of
    another time is hashed, since a copy is still what it was.

    Raises:
        DataError: it is damaged.
    """
    path, place = Path(path), record_path(path)
    inside = not place.is_file() and path.suffix == ".json" and path.is_file()
    if not place.is_file() and not inside:
        return None
    try:
        record = json.loads((path if inside else place).read_text(encoding="utf-8"))
        if inside:
            return record.get("provenance") if isinstance(record, dict) else None
        outputs = [(Path(item["path"]), item) for item in record["outputs"]]
        record["inputs"].items(), record["command"], record["directory"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError("not a record of provenance", path=place, mend="remove it") from error
    if path.is_dir():
        there = [is_unchanged(path / _within(path, name), item, by_content=by_content) for name, item in outputs]
        return record if there and all(there) else None
    of_file = (item for name, item in outputs if name.name == path.name)
    return record if any(is_unchanged(path, item, by_content=by_content) for item in of_file) else None


def is_unchanged(path: str | os.PathLike, entry: Mapping[str, Any], *, by_content: bool = True) -> bool:
    """Whether a file is still what the *entry* of a record says; *by_content*: one of another time is hashed."""
    found = stamp(path)
    if found is None or found["bytes"] != entry.get("bytes"):
        return False
    if found["modified"] == entry.get("modified"):
        return True
    return by_content and bool(entry.get("sha256")) and _sha256(path) == entry["sha256"]


def _sha256(path: str | os.PathLike, stop: threading.Event | None = None) -> str | None:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                if stop is not None and stop.is_set():
                    return None
                digest.update(block)
    except OSError:  # whoever needs it says so
        return None
    return digest.hexdigest()


def _within(directory: Path, output: Path) -> Path:
    """Where the file that a directory's record names lies in it, wherever the directory was then."""
    inside = output.parent.name == "encoder" and (directory / "encoder").is_dir()
    return Path(*output.parts[-2:]) if inside else Path(output.name)


def _noted_sha256(path: Path) -> str | None:
    """What the record beside a file, or in its directory, says of it as it is now; None where it is damaged."""
    for owner in (path, path.parent, path.parent.parent):
        with contextlib.suppress(DataError):
            for item in (read_record(owner) or {}).get("outputs", ()):
                if Path(item["path"]).name == path.name and is_unchanged(path, item, by_content=False):
                    return item.get("sha256")
    return None


def _file(path: Path, name: str, stop: threading.Event | None, *, always: bool = False) -> dict[str, Any]:
    """A file's entry in a record; *always* with its hash."""
    found = stamp(path)
    if found is None:
        return {"path": name, "kind": "stream" if path.exists() else "name"}
    entry: dict[str, Any] = {"path": name, **found}
    entry["sha256"] = _noted_sha256(path)
    if entry["sha256"] is None and (always or found["bytes"] <= _HASHED):
        entry["sha256"] = _sha256(path, stop)
    beside = record_path(path)
    if beside.is_file():
        entry["provenance"] = str(beside)
    return entry


def _archives(script: Path) -> list[str] | int:
    """The files that a script file's entries lie in; how many, where they are too many to look at."""
    names: set[bytes] = set()
    with open(script, "rb") as file:
        for line in file:
            head, _, tail = line.rpartition(b":")
            if tail.strip().isdigit():  # KEY FILE:OFFSET, as nearly all are
                names.add(head.split(None, 1)[-1])
                continue
            entry = b"".join(line.strip().split(None, 1)[1:])
            if entry.endswith(b"]"):
                entry = entry.rpartition(b"[")[0].rstrip()
            if entry and not entry.endswith(b"|"):
                name, _, offset = entry.rpartition(b":")
                names.add(name if offset.isdigit() else entry)
    return len(names) if len(names) > _MAX_ARCHIVES else sorted(os.fsdecode(name) for name in names)


def _entry(source: Source, stop: threading.Event | None = None) -> dict[str, Any]:
    if source.path is None:
        return {"path": source.name, "kind": source.kind}
    path = Path(source.path)
    given = {} if source.name == source.path else {"given": source.name}
    if path.is_dir():
        files = sorted({file for name in _IDENTITY for file in path.glob(name)})
        entry = {
            "path": source.path,
            "kind": "directory",
            "files": [_file(file, str(file), stop, always=True) for file in files],
        }
        if record_path(path).is_file():
            entry["provenance"] = str(record_path(path))
        return entry
    entry = {**given, **_file(path, source.path, stop)}
    if source.is_script and "bytes" in entry:
        with contextlib.suppress(OSError):
            names = _archives(path)
            if isinstance(names, int):
                entry["num_archives"] = names
            else:
                entry["archives"] = [_file(Path(name), name, stop) for name in names]
    return entry


def describe_inputs(inputs: Mapping[str, Source], stop: threading.Event | None = None) -> dict[str, Any]:
    """The ``inputs`` of a record; *stop*, once set, ends the hashing of files that nobody waits for any more."""
    entries = {source: _entry(source, stop) for source in dict.fromkeys(inputs.values())}
    return {name: entries[source] for name, source in inputs.items()}


@contextlib.contextmanager
def describing(inputs: Mapping[str, Source]) -> Iterator[Callable[[], dict[str, Any]]]:
    """Describe inputs by a thread while the block runs; the function that it is given waits for what that found."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        described = pool.submit(describe_inputs, inputs, stop)

        def found() -> dict[str, Any]:
            entries = described.result()
            for name, entry in entries.items():
                if "bytes" in entry and not is_unchanged(inputs[name].path, entry, by_content=False):
                    entry["changed"] = "while it was read, or by this command"
            return entries

        try:
            yield found
        except BaseException:
            stop.set()
            raise


def this_run(inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A record without outputs, as of what goes to stdout."""
    return {
        "command": ["svtk", *sys.argv[1:]],
        "directory": os.getcwd(),
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        "svtk": {"version": __version__, "revision": _revision(_ROOT.parent), "source_sha256": _source_sha256()},
        "versions": _versions(),
        "platform": _platform(),
        "settings": dict(settings),
        "inputs": dict(inputs),
        "outputs": [],
    }


def _revision(checkout: Path) -> str | None:
    """The commit that a checkout stands at; None where there is none, as of an installed svtk."""
    try:
        git = checkout / ".git"
        if git.is_file():  # a worktree
            git = (git.parent / git.read_text().removeprefix("gitdir:").strip()).resolve()
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref:"):
            return head
        ref = head.removeprefix("ref:").strip()
        common = git / "commondir"
        common = git / common.read_text().strip() if common.exists() else git
        for place in (git, common):
            if (place / ref).is_file():
                return (place / ref).read_text().strip()
        lines = (common / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in lines if line.endswith(f" {ref}")), None)
    except (OSError, ValueError):
        return None


def _source_sha256() -> str:
    """Of svtk's own modules, by name: what tells a checkout with changes from its revision."""
    digest = hashlib.sha256()
    for file in sorted(_ROOT.rglob("*.py")):
        digest.update(f"{file.relative_to(_ROOT)}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in _PACKAGES:
        if name in sys.modules and (version := getattr(sys.modules[name], "__version__", None)):
            found[name] = str(version)
    return found


def _platform() -> dict[str, str]:
    system = os.uname()
    found = {"system": f"{system.sysname} {system.release}", "machine": system.machine}
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        found["processor"] = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    return found


@contextlib.contextmanager
def recorded(
    inputs: Mapping[str, Source],
    outputs: Sequence[str | os.PathLike],
    settings: Mapping[str, Any],
    *,
    max_hashed_output: int | None = None,
) -> Iterator[None]:
    """Write the record of *outputs* when the block ends well, beside each of them, by rename.

    Inputs are hashed by a thread while the block runs. An output that the block leaves as it was keeps its record.

    Args:
        inputs: by name.
        outputs: files or directories; none of them, where all goes to stdout or a pipe, is no record.
        settings: all options by name; JSON-able.
        max_hashed_output: outputs of more bytes get no SHA-256; None: all get one.

    Raises:
        DataError: the record cannot be written.
    """
    paths = [Path(output) for output in outputs]
    if not paths or os.environ.get("RANK", "0") != "0":  # of torchrun's processes the first writes
        yield
        return
    before = {path: _stamps(path) for path in paths}
    with describing(inputs) as described:
        yield
        entries = described()
    made = [path for path in paths if _stamps(path) not in (before[path], {})]
    if not made:
        return
    record = this_run(entries, settings)
    record["outputs"] = [item for path in made for item in _made(path, max_hashed_output)]
    for path in made:
        _write(record_path(path), record)


def _stamps(path: Path) -> dict[str, Any]:
    """Of a file, or of the files that make a directory what it is."""
    files = [file for name in _IDENTITY for file in path.glob(name)] if path.is_dir() else [path]
    return {str(file): found for file in files if (found := stamp(file))}


def _made(path: Path, max_hashed: int | None) -> Iterator[dict[str, Any]]:
    for name, found in _stamps(path).items():
        too_large = max_hashed is not None and found["bytes"] > max_hashed
        yield {"path": name, **found, "sha256": None if too_large else _sha256(name)}


def _write(path: Path, record: Mapping[str, Any]) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise DataError(f"cannot write: {error.strerror or error}", path=path) from error
