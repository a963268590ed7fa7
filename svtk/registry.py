"""Find a component by the name of its module: ``students/sv_mixer.py`` is ``{name: sv_mixer}``.

A component module holds a frozen dataclass ``Config`` and ``build(config, **wiring)``. The wiring is
what only the run knows (``num_frames``, ``num_spks``, ...). Adding a component is adding a file.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any

from svtk.config import from_mapping, nearest, to_mapping
from svtk.errors import ConfigError

__all__ = ["Component", "configure", "names"]


@dataclasses.dataclass(frozen=True)
class Component:
    """A named component with its checked configuration; ``build`` makes the module."""

    kind: str
    name: str
    config: Any
    module: ModuleType

    def build(self, **wiring: Any) -> Any:
        """Make the module.

        Raises:
            ConfigError: it takes another wiring, for it belongs to another place, as a KD loss does as SV loss.
        """
        try:
            inspect.signature(self.module.build).bind(self.config, **wiring)
        except TypeError as error:
            raise ConfigError(
                f"{self.name!r} of {self.kind} does not serve here", found=str(error), mend="choose another component"
            ) from None
        return self.module.build(self.config, **wiring)

    @property
    def wiring(self) -> set[str]:
        """Names of what ``build`` takes beside the configuration."""
        return set(list(inspect.signature(self.module.build).parameters)[1:])

    def spec(self) -> dict[str, Any]:
        """``{name: ..., key: value, ...}`` with every default filled in."""
        return {"name": self.name, **to_mapping(self.config)}


def names(kind: str) -> list[str]:
    """Component names of a room (``students``, ``backends``, ...), sorted."""
    package = importlib.import_module(f"svtk.{kind}")
    return sorted(info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_"))


def configure(kind: str, spec: dict[str, Any], where: str = "", path: Any = None) -> Component:
    """Check ``{name: sv_mixer, num_layers: 5}`` against its component's ``Config``.

    Raises:
        ConfigError: no name, an unknown component, an unknown key or a wrong value.
    """
    where = where or kind
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
        raise ConfigError(
            f"{where!r} needs a name", path=path, found=repr(spec), expected=f"one of {', '.join(names(kind))}"
        )
    name = spec["name"]
    known = names(kind)
    if name not in known:
        raise ConfigError(f"no component {name!r} in {kind}", path=path, mend=nearest(name, known))
    module = importlib.import_module(f"svtk.{kind}.{name}")
    options = {key: value for key, value in spec.items() if key != "name"}
    return Component(kind, name, from_mapping(module.Config, options, where, path), module)
