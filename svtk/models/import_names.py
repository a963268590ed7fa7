"""Weights under other names: a map of names, by rules, and a report of what became of every weight."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from torch import Tensor

from svtk.config import from_mapping, load_yaml
from svtk.errors import ConfigError, ModelError

__all__ = ["NameMap", "Renamed", "Report", "fit", "load_name_map", "rename"]

How = Literal["same", "reshape", "groups"]


@dataclasses.dataclass(frozen=True)
class Rule:
    r"""What a weight's name becomes: ``from``, a regular expression for the whole name; ``to``, with ``\1`` for its
    groups, or null: the weight is not needed.

    ``how`` its values come: ``same`` shape; ``reshape``, in the same order; ``groups``, of a grouped convolution of
    kernel 1 (G O, I, 1), as products over groups (G, I, O).
    """

    pattern: re.Pattern
    to: str | None
    how: How = "same"


@dataclasses.dataclass(frozen=True)
class NameMap:
    """``prefixes`` are taken off a name, as many as stand there, before the first of ``rules`` that fits counts."""

    prefixes: tuple[str, ...]
    rules: tuple[Rule, ...]

    def above(self, other: NameMap) -> NameMap:
        """Both, these rules first."""
        return NameMap(self.prefixes + other.prefixes, self.rules + other.rules)


@dataclasses.dataclass(frozen=True)
class _File:
    rules: list[dict]
    prefixes: tuple[str, ...] = ()


def load_name_map(path: Path) -> NameMap:
    """Read a YAML file of ``prefixes`` and ``rules``, each ``{from: ..., to: ..., how: ...}``.

    Raises:
        ConfigError: an unknown key, a missing one, a ``how`` that there is not, or no regular expression.
    """
    file = from_mapping(_File, load_yaml(path), path=path)
    rules = []
    for number, rule in enumerate(file.rules, 1):
        try:
            if not set(rule) <= {"from", "to", "how"} or rule.get("how", "same") not in How.__args__:
                raise ValueError(f"found {rule}")
            rules.append(Rule(re.compile(rule["from"]), rule["to"], rule.get("how", "same")))
            if rule["to"] is not None:
                re.sub(rule["from"], rule["to"], "")
        except (KeyError, TypeError, ValueError, re.error) as error:
            expected = f"from, to and how ({', '.join(How.__args__)}); from is a regular expression"
            raise ConfigError(f"rule {number} is wrong: {error}", path=path, expected=expected) from error
    return NameMap(file.prefixes, tuple(rules))


@dataclasses.dataclass(frozen=True)
class Renamed:
    """A weight under its new name, not yet in its new shape."""

    source: str
    tensor: Tensor
    how: How


@dataclasses.dataclass
class Report:
    """Names of a checkpoint's weights by what became of them, and of what it lacks.

    ``reshaped``: source, old shape, target, new shape. ``missing``: of the model, not of the checkpoint.
    """

    matched: list[str] = dataclasses.field(default_factory=list)
    reshaped: list[tuple[str, tuple[int, ...], str, tuple[int, ...]]] = dataclasses.field(default_factory=list)
    ignored: list[str] = dataclasses.field(default_factory=list)
    unknown: list[str] = dataclasses.field(default_factory=list)
    missing: list[str] = dataclasses.field(default_factory=list)

    def text(self, every: bool = False) -> str:
        """Lines for people: counts, what is unknown and missing by name, and, with *every*, each weight."""
        notes = {
            "matched": "as they are",
            "reshaped": "in another shape",
            "ignored": "known not to be needed",
            "unknown": "no rule knows them, or the model has no such weight; not taken",
            "missing": "the model has them, the checkpoint has not",
        }
        lines = []
        for kind, note in notes.items():
            names = getattr(self, kind)
            lines.append(f"{kind:<8}  {len(names):>5}  {note}")
            if every or kind in ("unknown", "missing"):
                lines += [f"  {name if isinstance(name, str) else _arrow(*name)}" for name in names]
        return "\n".join(lines)


def _arrow(source: str, old: tuple[int, ...], target: str, new: tuple[int, ...]) -> str:
    return f"{source} {old} -> {target} {new}"


def rename(weights: Mapping[str, Tensor], names: NameMap, report: Report) -> dict[str, Renamed]:
    """The weights by their new names; *report* gets those that have none.

    Raises:
        ModelError: two weights with one new name.
    """
    result: dict[str, Renamed] = {}
    for source, tensor in weights.items():
        name = source
        while prefix := next((p for p in names.prefixes if name.startswith(p)), ""):
            name = name[len(prefix) :]
        rule, match = next(((r, m) for r in names.rules if (m := r.pattern.fullmatch(name))), (None, None))
        if rule is None:
            report.unknown.append(source)
        elif rule.to is None:
            report.ignored.append(source)
        else:
            target = match.expand(rule.to)
            if target in result:
                raise ModelError(f"two weights for {target!r}", found=f"{result[target].source!r} and {source!r}")
            result[target] = Renamed(source, tensor, rule.how)
    return result


def fit(renamed: Mapping[str, Renamed], shapes: Mapping[str, Sequence[int]], report: Report) -> dict[str, Tensor]:
    """The weights in the *shapes* of a model, by its names; *report* tells of all of them.

    Raises:
        ModelError: a weight that cannot have its shape.
    """
    state: dict[str, Tensor] = {}
    for target, item in renamed.items():
        if target not in shapes:
            report.unknown.append(item.source)
            continue
        shape = tuple(shapes[target])
        tensor = _shaped(item, target, shape)
        if tensor.shape == item.tensor.shape:
            report.matched.append(item.source)
        else:
            report.reshaped.append((item.source, tuple(item.tensor.shape), target, shape))
        state[target] = tensor
    report.missing += [name for name in shapes if name not in state]
    return state


def _shaped(item: Renamed, target: str, shape: tuple[int, ...]) -> Tensor:
    tensor = item.tensor
    if item.how == "groups" and len(shape) == 3 and tensor.numel() == math.prod(shape):
        groups, inputs, outputs = shape
        if tuple(tensor.shape[:2]) == (groups * outputs, inputs):
            return tensor.reshape(groups, outputs, inputs).transpose(1, 2).contiguous()
    elif item.how == "reshape" and tensor.numel() == math.prod(shape):
        return tensor.reshape(shape)
    elif item.how == "same" and tuple(tensor.shape) == shape:
        return tensor
    raise ModelError(
        f"{item.source!r} does not fit {target!r}", found=f"shape {tuple(tensor.shape)}", expected=f"{shape}"
    )
