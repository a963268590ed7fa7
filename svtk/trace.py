"""The chain of records behind a file: metrics → scores → embeddings → model → training run (:mod:`svtk.provenance`)."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from svtk.config import load_yaml
from svtk.errors import DataError
from svtk.provenance import is_unchanged, read_record, record_path

__all__ = ["Step", "format_trace", "trace", "trace_record"]

_UNKNOWN = "how it was made is not recorded"


@dataclasses.dataclass
class Step:
    """A file or directory in the chain.

    ``path`` where it lies now; ``state`` what is known of it: unchanged, changed since, not there ...; ``sha256`` as
    recorded; ``record`` of how it was made, None where there is none; ``run`` what a training's ``run.yaml`` says;
    ``inputs`` by name, several where a table lies in several archives.
    """

    path: str
    state: str = ""
    sha256: str | None = None
    record: dict[str, Any] | None = None
    run: dict[str, Any] | None = None
    inputs: dict[str, list[Step]] = dataclasses.field(default_factory=dict)

    def to_mapping(self) -> dict[str, Any]:
        """The step and all behind it, JSON-able."""
        return dataclasses.asdict(self)


def trace(path: str | os.PathLike) -> Step:
    """Follow the records from a file, or a MODEL_DIR, back to its data.

    Raises:
        DataError: no such file, or a damaged record.
    """
    path = Path(path)
    if not path.exists():
        raise DataError("no such file", path=path)
    return _followed(Step(str(path)), path, ())


def trace_record(title: str, record: dict[str, Any]) -> Step:
    """The same of what a *record* is of that lies in no file; called *title*."""
    return _follow_inputs(Step(title, record=record), Path(record["directory"]), ())


def _follow_inputs(step: Step, owner: Path, above: tuple[Path, ...]) -> Step:
    for name, entry in (step.record or {}).get("inputs", {}).items():
        step.inputs[name] = [_input(entry, step.record, owner, above)]
    return step


def _followed(step: Step, path: Path, above: tuple[Path, ...]) -> Step:
    """*step* with its record and the steps behind it; *above* ends a circle."""
    step.record = read_record(path, by_content=True)
    if step.record is None and record_path(path).is_file():
        step.state = ", ".join(filter(None, (step.state, "the record beside it is of another state of it")))
    if path in above:
        return step
    above = (*above, path)
    _follow_inputs(step, path, above)
    if path.is_dir() and step.record is None and (parts := sorted(path.glob("*/provenance.json"))):
        step.inputs["parts"] = [_followed(Step(str(_short(part.parent))), part.parent, above) for part in parts]
    if path.is_dir() and (path / "run.yaml").is_file():
        run = load_yaml(path / "run.yaml")
        step.run = {name: value for name, value in run.items() if name != "inputs"}
        where = {"directory": os.getcwd(), "outputs": [], **(step.record or {})}
        for name, entry in run.get("inputs", {}).items():
            step.inputs[name] = [_input({**entry, "kind": "by name"}, where, path, above)]
    return step


def _input(entry: Mapping[str, Any], record: Mapping[str, Any], owner: Path, above: tuple[Path, ...]) -> Step:
    step = Step(entry["path"], sha256=entry.get("sha256"))
    kind = entry.get("kind", "file")
    if kind in ("stdin", "pipe", "stream", "name"):
        step.state = {"name": "not a file"}.get(kind, kind)
        return step
    path, step.state = _found(entry, record, owner)
    if path is None:
        return step
    step.path = str(path)
    if step.state != "unchanged" and kind != "by name":
        return step  # what lies there now was made in another way
    _followed(step, path, above)
    if step.record is None and entry.get("archives"):
        parts = [_input(part, record, owner, above) for part in entry["archives"]]
        step.inputs["archives"] = parts
    return step


def _found(entry: Mapping[str, Any], record: Mapping[str, Any], owner: Path) -> tuple[Path | None, str]:
    """Where an input lies now, also after *owner* and it were moved together, and what has become of it."""
    place = Path(record["directory"], entry["path"])
    home = owner if owner.is_dir() else owner.parent
    outputs = [Path(record["directory"], item["path"]) for item in record["outputs"]]
    moved = [home / os.path.relpath(place, output.parent) for output in outputs[:1]]
    there = [path for path in (place, *moved, home / place.name) if path.exists()]
    if there and entry.get("kind") == "directory" and not entry["files"]:
        return _short(there[0]), "which files of it were read is not recorded"
    for path in there:
        if _as_recorded(path, entry):
            return _short(path), "unchanged"
    if not there or (entry.get("kind") == "by name" and there[0] not in (place, *moved)):
        return None, "not there"
    if entry.get("kind") == "by name":
        return _short(there[0]), ""
    if entry.get("sha256") is None and entry.get("kind") != "directory":
        return _short(there[0]), "of another time, and was not hashed"
    return _short(there[0]), "changed since"


def _as_recorded(path: Path, entry: Mapping[str, Any]) -> bool:
    if entry.get("kind") == "by name":
        return False
    if entry.get("kind") != "directory":
        return path.is_file() and is_unchanged(path, entry) and "changed" not in entry
    files = [(path / os.path.relpath(item["path"], entry["path"]), item) for item in entry["files"]]
    return all(is_unchanged(file, item) for file, item in files)


def _short(path: Path) -> Path:
    """The same path, from here where it lies below."""
    path = Path(os.path.normpath(path))
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def format_trace(step: Step) -> str:
    """The chain as indented text; what stands there already is not told again."""
    return "\n".join(_lines(step, step.path, "", set()))


def _lines(step: Step, title: str, indent: str, told: set[str]) -> Iterator[str]:
    known = ", ".join(word for word in (step.sha256 and f"sha256 {step.sha256[:16]}", step.state) if word)
    tellings = {step.path} if step.record is None else {step.path, json.dumps(step.record)}  # one run, several outputs
    again = bool(step.record or step.run) and not told.isdisjoint(tellings)
    yield f"{indent}{title}" + (f" ({known})" if known else "") + (", told above" if again else "")
    if again:
        return
    told |= tellings
    indent += "  "
    if step.record is not None:
        yield from (indent + line for line in _how(step.record))
    elif not step.run and not step.inputs and not indent[2:]:
        yield indent + _UNKNOWN
    if step.run is not None:
        yield f"{indent}run.yaml: {_words(step.run)}"
    groups: dict[str, tuple[list[str], Step]] = {}
    for name, steps in step.inputs.items():
        for number, found in enumerate(steps[:1] if _alike(steps) else steps, 1):
            label = name if len(steps) == 1 else f"{name} {number}"
            groups.setdefault(found.path, ([], found))[0].append(label)
    for path, (names, found) in groups.items():
        yield from _lines(found, f"{', '.join(names)}: {path}", indent, told)
    for name, steps in step.inputs.items():
        if _alike(steps):
            yield f"{indent}{name} 2 to {len(steps)}: made alike, the last {steps[-1].path}"


def _alike(steps: Sequence[Step]) -> bool:
    """Whether several parts of one thing were made by jobs of one kind, and are what they were."""
    records = [step.record or {} for step in steps]
    kinds = {
        json.dumps([step.state, record.get("command", [])[1:2], record.get("settings")])
        for step, record in zip(steps, records, strict=True)
    }
    return len(steps) > 1 and len(kinds) == 1


def _how(record: Mapping[str, Any]) -> Iterator[str]:
    yield shlex.join(record["command"])
    svtk, system = record.get("svtk", {}), record.get("platform", {})
    revision = f" at {svtk['revision'][:12]}" if svtk.get("revision") else ""
    source = f", source {svtk['source_sha256'][:12]}" if svtk.get("source_sha256") else ""
    versions = ", ".join(f"{name} {version}" for name, version in record.get("versions", {}).items())
    yield f"{record.get('date', '')} in {record['directory']}: svtk {svtk.get('version', '')}{revision}{source}"
    yield f"{versions}; {', '.join(word for word in system.values() if word)}"
    if record.get("settings"):
        yield f"settings: {_words(record['settings'])}"


def _words(mapping: Mapping[str, Any]) -> str:
    def word(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    given = {name: value for name, value in mapping.items() if value not in (None, [], (), {})}
    return " ".join(f"{name}={shlex.quote(word(value))}" for name, value in given.items())
