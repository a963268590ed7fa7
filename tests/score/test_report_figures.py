"""Figures of what is out of the ordinary: odd names, many systems, several layer sums."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from svtk.errors import SvtkError
from svtk.score.report.experiment import Row, System
from svtk.score.report.figures import Colors, draw_layers, draw_sizes, draw_training, save_figure, to_svg


def text_of(svg: str) -> list[str]:
    return [re.sub(r"&amp;", "&", text).strip() for text in re.findall(r"<text[^>]*>([^<]*)", svg)]


def test_names_stand_as_they_are():
    """No mathematics, no markup, none left out for its underscore."""
    names = ["$a_b$", "R&D", "_x", "a" * 60]
    rows = [Row(name, "t", eer=0.1 + 0.01 * i, parameters=10**6 * (i + 1)) for i, name in enumerate(names)]
    found = [text.removeprefix("\u200b") for text in text_of(to_svg(draw_sizes(rows, Colors(names))))]
    assert set(names) <= set(found)


def test_sizes_far_apart_stand_on_a_logarithmic_axis():
    rows = [Row("teacher", "t", eer=0.01, parameters=316 * 10**6), Row("student", "t", eer=0.02, parameters=2 * 10**6)]
    labels = text_of(to_svg(draw_sizes(rows, Colors(["teacher", "student"]))))
    assert {"10", "100"} <= set(labels) and not any("mathdefault" in label for label in labels)


def test_every_system_has_its_colour():
    names = [f"system {i}" for i in range(10)]
    assert len(set(Colors(names).values())) == 10
    systems = [
        System(n, Row(n), [{"epoch": 1, "loss": i}, {"epoch": 2, "loss": i / 2}], {}, {}) for i, n in enumerate(names)
    ]
    svg = to_svg(draw_training(systems, Colors(names)))
    assert all(color.lower() in svg for color in Colors(names).values())
    assert svg.count('id="series:') == 10


def test_two_sums_of_layers_are_told_apart():
    weights = {"key_sum": np.array([0.2, 0.8]), "value_sum": np.array([0.5, 0.5])}
    systems = [System("mhfa", Row("mhfa"), [], weights, {}), System("a", Row("a"), [], {"layer_sum": np.ones(1)}, {})]
    svg = to_svg(draw_layers(systems, Colors(["mhfa", "a"])))
    assert {"mhfa", "a", "key_sum"} <= set(text_of(svg)) and "stroke-dasharray" in svg


def test_figures_of_a_paper_are_on_white(tmp_path):
    rows = [Row("a", "t", eer=0.1, parameters=10**6), Row("b", "t", eer=0.2, parameters=2 * 10**6)]
    save_figure(lambda: draw_sizes(rows, Colors(["a", "b"])), tmp_path / "sizes.png", "png")
    with Image.open(io.BytesIO((tmp_path / "sizes.png").read_bytes())) as image:
        assert image.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)
    assert [path.name for path in Path(tmp_path).iterdir()] == ["sizes.png"]


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(SvtkError, match="svtk.report"):
        draw_sizes([], Colors([]))
