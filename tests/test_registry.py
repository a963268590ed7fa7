"""Components are found by the name of their module."""

from __future__ import annotations

import dataclasses
import sys
import types

import pytest

import svtk
from svtk.errors import ConfigError
from svtk.registry import configure, names


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A room ``svtk.gadgets`` of two components and a helper."""
    (tmp_path / "wheel.py").write_text(
        "import dataclasses\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Config:\n"
        "    spokes: int = 8\n"
        "    rim: str = 'steel'\n"
        "def build(config, *, diameter):\n"
        "    return config.spokes, config.rim, diameter\n"
    )
    (tmp_path / "lever.py").write_text("raise RuntimeError('imported without being asked for')\n")
    (tmp_path / "_helper.py").write_text("")
    package = types.ModuleType("svtk.gadgets")
    package.__path__ = [str(tmp_path)]
    monkeypatch.setitem(sys.modules, "svtk.gadgets", package)
    monkeypatch.setattr(svtk, "gadgets", package, raising=False)
    yield "gadgets"
    sys.modules.pop("svtk.gadgets.wheel", None)


def test_a_new_file_is_a_new_component(room):
    assert names(room) == ["lever", "wheel"]


def test_configure_checks_and_build_wires(room):
    component = configure(room, {"name": "wheel", "spokes": 12})
    assert (component.kind, component.name) == ("gadgets", "wheel")
    assert component.spec() == {"name": "wheel", "spokes": 12, "rim": "steel"}
    assert component.wiring == {"diameter"}
    assert component.build(diameter=0.7) == (12, "steel", 0.7)
    with pytest.raises(dataclasses.FrozenInstanceError):
        component.config.spokes = 3


def test_the_spec_is_not_changed_and_gives_the_same_again(room):
    spec = {"name": "wheel", "spokes": 12}
    first = configure(room, spec)
    assert spec == {"name": "wheel", "spokes": 12}
    assert configure(room, first.spec()).config == first.config


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "weel"}, "c.yaml: no component 'weel' in gadgets. To mend: did you mean 'wheel'?"),
        ({"name": "_helper"}, "c.yaml: no component '_helper' in gadgets"),
        ({"name": "zzz"}, "c.yaml: no component 'zzz' in gadgets. To mend: use one of lever, wheel"),
        ({"name": "../wheel"}, "c.yaml: no component '../wheel' in gadgets"),
        ({}, "c.yaml: 'gadgets' needs a name; found {}; expected one of lever, wheel"),
        ({"name": 3}, "c.yaml: 'gadgets' needs a name"),
        ("wheel", "c.yaml: 'gadgets' needs a name; found 'wheel'"),
        ({"name": "wheel", "spoke": 3}, "c.yaml: unknown key 'gadgets.spoke'. To mend: did you mean 'spokes'?"),
        ({"name": "wheel", "spokes": "x"}, "c.yaml: wrong value for 'gadgets.spokes'; found 'x'"),
    ],
)
def test_mistakes_are_named(room, spec, message):
    with pytest.raises(ConfigError) as info:
        configure(room, spec, path="c.yaml")
    assert str(info.value).startswith(message)


@pytest.mark.parametrize("kind", ["students", "teachers", "backends", "losses", "frontends"])
def test_every_component_keeps_the_contract(kind):
    for name in names(kind):
        component = configure(kind, {"name": name} | _required(kind, name))
        assert dataclasses.is_dataclass(component.config)
        assert type(component.config).__dataclass_params__.frozen
        assert callable(component.module.build)
        assert component.module.__doc__


def _required(kind: str, name: str) -> dict[str, str]:
    """Something for the keys that have no default."""
    module = __import__(f"svtk.{kind}.{name}", fromlist=["Config"])
    fields = dataclasses.fields(module.Config)
    missing = dataclasses.MISSING
    return {f.name: "x" for f in fields if f.default is missing and f.default_factory is missing}
