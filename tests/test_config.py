"""Configuration: defaults < YAML < --set, and every mistake named."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import pytest

from svtk.config import apply_overrides, find_config, from_mapping, load_yaml, nearest, save_yaml, to_mapping
from svtk.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Inner:
    size: int = 4
    rate: float = 0.5

    def __post_init__(self):
        if self.size < 1:
            raise ValueError("size must be positive")


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = dataclasses.field(default_factory=Inner)
    mode: Literal["fast", "slow"] = "fast"
    flag: bool = False
    limit: int | None = None
    layers: tuple[int, ...] = (1, 2)
    pair: tuple[float, float] = (0.9, 0.999)
    items: list[Inner] = dataclasses.field(default_factory=list)
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


def test_defaults_fill_what_is_not_given():
    assert from_mapping(Outer, {"name": "x"}) == Outer("x")


def test_values_and_nesting():
    mapping = {
        "name": "x",
        "inner": {"size": 8, "rate": 1},
        "mode": "slow",
        "flag": True,
        "limit": None,
        "layers": [3, 6, 9],
        "pair": [0.9, 0.98],
        "items": [{"size": 2}, {}],
        "extra": {"anything": [1]},
    }
    config = from_mapping(Outer, mapping)
    assert config == Outer(
        "x", Inner(8, 1.0), "slow", True, None, (3, 6, 9), (0.9, 0.98), [Inner(2), Inner()], {"anything": [1]}
    )
    assert isinstance(config.inner.rate, float)
    assert from_mapping(Outer, to_mapping(config)) == config


def test_a_number_yaml_reads_as_text(tmp_path):
    (tmp_path / "c.yaml").write_text("rate: 2e-4\n")
    assert load_yaml(tmp_path / "c.yaml") == {"rate": "2e-4"}  # YAML 1.1
    assert from_mapping(Inner, load_yaml(tmp_path / "c.yaml")).rate == 2e-4


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"nam": "x"}, "unknown key 'nam'. To mend: did you mean 'name'?"),
        ({"name": "x", "inner": {"sizes": 1}}, "unknown key 'inner.sizes'. To mend: did you mean 'size'?"),
        ({"name": "x", "qqq": 1}, "unknown key 'qqq'. To mend: use one of extra, flag, inner, items, layers,"),
        ({"name": "x", 3: 1}, "unknown key '3'"),
        ({}, "missing key 'name'"),
        ({"name": 3}, "wrong value for 'name'; found 3; expected a string"),
        ({"name": None}, "wrong value for 'name'; found None; expected a string"),
        ({"name": "x", "flag": 1}, "wrong value for 'flag'; found 1; expected true or false"),
        ({"name": "x", "limit": "3"}, "wrong value for 'limit'; found '3'; expected a whole number"),
        ({"name": "x", "limit": True}, "wrong value for 'limit'; found True; expected a whole number"),
        ({"name": "x", "limit": 1.0}, "wrong value for 'limit'; found 1.0; expected a whole number"),
        ({"name": "x", "mode": "quick"}, "wrong value for 'mode'; found 'quick'; expected one of 'fast', 'slow'"),
        ({"name": "x", "layers": 3}, "wrong value for 'layers'; found 3; expected a list"),
        ({"name": "x", "layers": [1, "b"]}, "wrong value for 'layers[1]'; found 'b'; expected a whole number"),
        ({"name": "x", "pair": [1, 2, 3]}, "wrong value for 'pair'; found [1, 2, 3]; expected a list of 2"),
        ({"name": "x", "inner": 3}, "wrong value for 'inner'; found 3; expected a mapping"),
        ({"name": "x", "inner": {"rate": "fast"}}, "wrong value for 'inner.rate'; found 'fast'; expected a number"),
        ({"name": "x", "inner": {"rate": True}}, "wrong value for 'inner.rate'; found True; expected a number"),
        ({"name": "x", "items": [{"size": 0}]}, "bad value under 'items[0]': size must be positive"),
        ({"name": "x", "extra": [1]}, "wrong value for 'extra'; found [1]; expected a mapping"),
    ],
)
def test_mistakes_are_named(mapping, message):
    with pytest.raises(ConfigError) as info:
        from_mapping(Outer, mapping, path="c.yaml")
    assert str(info.value).startswith(f"c.yaml: {message}")


def test_the_prefix_stands_before_the_key():
    with pytest.raises(ConfigError, match=r"unknown key 'student.sise'.*did you mean 'size'"):
        from_mapping(Inner, {"sise": 1}, where="student")


def test_nearest():
    assert nearest("sv_mixr", ["transformer", "sv_mixer"]) == "did you mean 'sv_mixer'?"
    assert nearest("zzz", ["b", "a"]) == "use one of a, b"


@pytest.mark.parametrize(
    ("overrides", "result"),
    [
        ([], {"student": {"num_layers": 5}, "losses": [{"weight": 1}, {"weight": 2}], "empty": None}),
        (["student.num_layers=6"], {"student": {"num_layers": 6}}),
        (["student.num_layers=6", "student.num_layers=7"], {"student": {"num_layers": 7}}),  # the last one wins
        (["student.mix=[a, b]"], {"student": {"num_layers": 5, "mix": ["a", "b"]}}),
        (["student.name=a=b"], {"student": {"num_layers": 5, "name": "a=b"}}),
        (["new.deep.key=true"], {"new": {"deep": {"key": True}}}),
        (["losses.1.weight=0.5"], {"losses": [{"weight": 1}, {"weight": 0.5}]}),
        (["losses.0=null"], {"losses": [None, {"weight": 2}]}),
        (["empty.key=1"], {"empty": {"key": 1}}),  # "empty:" in YAML is None
    ],
)
def test_overrides(overrides, result):
    base = {"student": {"num_layers": 5}, "losses": [{"weight": 1}, {"weight": 2}], "empty": None}
    before = repr(base)
    assert apply_overrides(base, overrides) == base | result
    assert repr(base) == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("student", "malformed --set; found 'student'"),
        ("=3", "malformed --set; found '=3'"),
        ("a=[1", "malformed --set value; found"),
        ("losses.2.weight=1", "--set misses the list; found 'losses.2.weight=1'; expected an index below 2"),
        ("losses.x=1", "--set misses the list"),
        ("student.num_layers.deep=1", "--set goes through a plain value"),
    ],
)
def test_wrong_overrides(override, message):
    base = {"student": {"num_layers": 5}, "losses": [{"weight": 1}, {"weight": 2}]}
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        apply_overrides(base, [override])


def test_yaml_round_trip(tmp_path):
    config = Outer("x", layers=(4,), items=[Inner(2)])
    save_yaml(to_mapping(config), tmp_path / "c.yaml")
    assert from_mapping(Outer, load_yaml(tmp_path / "c.yaml")) == config
    assert [p.name for p in tmp_path.iterdir()] == ["c.yaml"]


def test_empty_yaml_is_an_empty_mapping(tmp_path):
    (tmp_path / "c.yaml").write_text("# nothing\n")
    assert load_yaml(tmp_path / "c.yaml") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", r"c.yaml:3: not valid YAML; found "),
        ("a: 1\n\tb: 2\n", r"c.yaml:2: not valid YAML; found "),
        ("- 1\n", r"c.yaml: not a mapping; found list"),
        ("word\n", r"c.yaml: not a mapping; found str"),
        (
            "a: !!python/object/apply:os.getcwd []\n",
            r"c.yaml:1: not valid YAML; found could not determine a constructor",
        ),
        (b"a: \xff\n", r"c.yaml: not UTF-8 text"),
        (b"a: \0\n", r"c.yaml: not valid YAML"),
    ],
)
def test_wrong_yaml_is_named_with_its_line(tmp_path, text, message):
    (tmp_path / "c.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=message):
        load_yaml(tmp_path / "c.yaml")


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(ConfigError, match="cannot read configuration: No such file"):
        load_yaml(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="cannot write: No such file"):
        save_yaml({}, tmp_path / "nowhere" / "c.yaml")


def test_off_needs_no_quotes():
    """YAML 1.1 reads a plain off as false."""

    @dataclasses.dataclass(frozen=True)
    class Switch:
        mode: Literal["fast", "off"] = "fast"

    assert from_mapping(Switch, apply_overrides({}, ["mode=off"])).mode == "off"
    assert from_mapping(Switch, {"mode": "off"}).mode == "off"
    for value in (True, 0, None):
        with pytest.raises(ConfigError, match="expected one of 'fast', 'off'"):
            from_mapping(Switch, {"mode": value})


def test_svtks_own_configurations_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = Path(__file__).parents[1] / "conf/demo_lmft.yaml"
    assert find_config("demo_lmft") == find_config("demo_lmft.yaml") == own
    (tmp_path / "demo_lmft").write_text("")  # a file here comes first
    assert find_config("demo_lmft") == Path("demo_lmft")
    assert find_config("nowhere/demo_lmft") == Path("nowhere/demo_lmft")  # a path is no name
    with pytest.raises(ConfigError, match="did you mean 'demo_distill_sv_mixer'"):
        find_config("demo_distil_sv_mixer")
    with pytest.raises(ConfigError, match="nor a configuration of svtk's$"):
        find_config("mine")
