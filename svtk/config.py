"""YAML to frozen dataclasses, strictly: defaults < YAML < ``--set a.b=value``.

Unknown keys are errors that name the nearest known key; values are checked against the field's
annotation. Only ``yaml.safe_load`` is used, so a configuration never runs code.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

from svtk.errors import ConfigError

__all__ = [
    "apply_overrides",
    "find_config",
    "from_mapping",
    "load_config",
    "load_yaml",
    "nearest",
    "save_yaml",
    "to_mapping",
]

T = TypeVar("T")


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """A hint naming what *word* may have meant, else what is known."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(known)}"


def find_config(name: str | os.PathLike) -> Path:
    """The file *name*, else the configuration of that name, with or without ``.yaml``, that svtk comes with.

    Raises:
        ConfigError: there is neither.
    """
    path = Path(name)
    if path.exists() or path.parent != Path():
        return path
    here = Path(__file__).parent
    own = here / "conf" if (here / "conf").is_dir() else here.parent / "conf"  # of a wheel, of a checkout
    known = {file.stem: file for file in own.glob("*.yaml")}
    if (stem := str(path).removesuffix(".yaml")) in known:
        return known[stem]
    close = difflib.get_close_matches(stem, known, n=1)
    mend = f"did you mean {close[0]!r}?" if close else None
    raise ConfigError("no such file, nor a configuration of svtk's", path=name, mend=mend)


def load_yaml(path: str | os.PathLike) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: the file is missing, is not YAML or does not hold a mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read configuration: {error.strerror}", path=path) from error
    except UnicodeDecodeError as error:
        raise ConfigError("not UTF-8 text", path=path) from error
    try:
        mapping = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ConfigError(
            "not valid YAML",
            path=path,
            line=None if mark is None else mark.line + 1,
            found=getattr(error, "problem", None) or str(error),
        ) from error
    if mapping is None:
        return {}
    if not isinstance(mapping, dict):
        raise ConfigError("not a mapping", path=path, found=type(mapping).__name__, expected="'key: value' lines")
    return mapping


def load_config(path: str | os.PathLike | None, overrides: typing.Sequence[str] = ()) -> dict[str, Any]:
    """A configuration file with what it inherits, and ``--set`` above it; None is an empty file.

    ``base: OTHER.yaml`` (relative to the file) inherits OTHER. Mappings are merged key by key, except that a
    component with another ``name`` than its base's replaces it whole.

    Raises:
        ConfigError: an unreadable file, or a circle of bases.
    """
    mapping = {} if path is None else _inherit(Path(path), ())
    return apply_overrides(mapping, overrides)


def _inherit(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    mapping = load_yaml(path)
    if "base" not in mapping:
        return mapping
    base = mapping.pop("base")
    if not isinstance(base, str):
        raise ConfigError("wrong value for 'base'", path=path, found=repr(base), expected="a file name")
    parent = path.parent / base
    if parent.resolve() in above:
        raise ConfigError("configurations inherit each other in a circle", path=path, found=f"base: {base}")
    return _merge(_inherit(parent, (*above, path.resolve())), mapping)


def _merge(base: Any, over: Any) -> Any:
    if (
        not isinstance(base, dict)
        or not isinstance(over, dict)
        or ("name" in over and over["name"] != base.get("name"))
    ):
        return over
    return {**base, **{key: _merge(base[key], value) if key in base else value for key, value in over.items()}}


def save_yaml(mapping: dict[str, Any], path: str | os.PathLike) -> None:
    """Write a mapping as YAML, whole or not at all.

    Raises:
        ConfigError: the file cannot be written.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    text = yaml.safe_dump(mapping, sort_keys=False)
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise ConfigError(f"cannot write: {error.strerror}", path=path) from error


def apply_overrides(mapping: dict[str, Any], overrides: typing.Sequence[str]) -> dict[str, Any]:
    """Lay ``a.b.c=value`` strings (values in YAML syntax) over a copy of *mapping*.

    >>> apply_overrides({"student": {"num_layers": 5}}, ["student.num_layers=6"])
    {'student': {'num_layers': 6}}

    A number in the key addresses a list item: ``kd_losses.0.weight=2``.
    """
    import copy

    result = copy.deepcopy(mapping)
    for override in overrides:
        dotted, equals, text = override.partition("=")
        if not equals or not dotted:
            raise ConfigError("malformed --set", found=repr(override), expected="KEY.SUBKEY=VALUE")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError("malformed --set value", found=repr(text), expected="a YAML value") from error
        node: Any = result
        *parents, last = dotted.split(".")
        for key in parents:
            if isinstance(node, dict) and node.get(key) is None:
                node[key] = {}  # absent, or "key:" with nothing behind it
            node = node[_list_index(node, key, override)] if isinstance(node, list) else node[key]
            if not isinstance(node, (dict, list)):
                raise ConfigError("--set goes through a plain value", found=repr(override), mend=f"{key!r} has no keys")
        if isinstance(node, list):
            node[_list_index(node, last, override)] = value
        else:
            node[last] = value
    return result


def _list_index(node: list, key: str, override: str) -> int:
    if not key.isdigit() or int(key) >= len(node):
        raise ConfigError("--set misses the list", found=repr(override), expected=f"an index below {len(node)}")
    return int(key)


def from_mapping(
    cls: type[T], mapping: dict[str, Any] | None, where: str = "", path: str | os.PathLike | None = None
) -> T:
    """Build the dataclass *cls* from a mapping, checking every key and type.

    Args:
        cls: a dataclass; nested dataclass fields take nested mappings.
        mapping: keys of *cls*; missing ones take their defaults.
        where: dotted prefix for messages, e.g. ``student``.
        path: file the mapping came from, for messages.

    Raises:
        ConfigError: unknown or missing key, or a value of the wrong type.
    """
    mapping = mapping or {}
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    prefix = f"{where}." if where else ""
    values = {}
    for key, value in mapping.items():
        if key not in fields:
            raise ConfigError(f"unknown key {prefix + str(key)!r}", path=path, mend=nearest(str(key), fields))
        values[key] = _coerce(value, hints[key], prefix + key, path)
    missing = [
        name
        for name, field in fields.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"missing key {prefix + missing[0]!r}", path=path)
    try:
        return cls(**values)
    except ValueError as error:  # a __post_init__ check
        raise ConfigError(f"bad value under {where or cls.__name__!r}: {error}", path=path) from error


def _coerce(value: Any, hint: Any, where: str, path: Any) -> Any:
    def wrong(expected: str) -> ConfigError:
        return ConfigError(f"wrong value for {where!r}", path=path, found=repr(value), expected=expected)

    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        errors = []
        for arg in args:
            if arg is not type(None):
                try:
                    return _coerce(value, arg, where, path)
                except ConfigError as error:
                    errors.append(error)
        raise errors[0]
    if origin is typing.Literal:
        if value is False and "off" in args:  # YAML 1.1 reads off as false
            return "off"
        if value not in args:
            raise wrong("one of " + ", ".join(map(repr, args)))
        return value
    if origin in (tuple, list):
        if not isinstance(value, (list, tuple)):
            raise wrong("a list")
        if origin is tuple and args[-1] is not ...:
            if len(value) != len(args):
                raise wrong(f"a list of {len(args)}")
            return tuple(
                _coerce(item, arg, f"{where}[{i}]", path) for i, (item, arg) in enumerate(zip(value, args, strict=True))
            )
        return origin(_coerce(item, args[0], f"{where}[{i}]", path) for i, item in enumerate(value))
    if origin is dict or hint is dict:
        if not isinstance(value, dict):
            raise wrong("a mapping")
        return value
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise wrong("a mapping")
        return from_mapping(hint, value, where, path)
    if hint is bool:
        if not isinstance(value, bool):
            raise wrong("true or false")
        return value
    if hint is int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong("a whole number")
        return value
    if hint is float:
        if isinstance(value, str):  # YAML 1.1 reads 2e-4 as a string
            try:
                return float(value)
            except ValueError:
                raise wrong("a number") from None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong("a number")
        return float(value)
    if hint is str:
        if not isinstance(value, str):
            raise wrong("a string")
        return value
    raise TypeError(f"{where}: svtk.config cannot check the annotation {hint!r}")


def to_mapping(config: Any) -> dict[str, Any]:
    """The inverse of :func:`from_mapping`: plain dicts and lists, ready for YAML."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return value

    return plain(dataclasses.asdict(config))
