"""The report's page in a real browser: curves are drawn, nothing is fetched, nothing is complained of."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser import CHROMIUM, Page
from small_experiment import small_experiment
from svtk.score.report import write_report

SCREENSHOTS = Path(__file__).resolve().parents[2] / ".screenshots"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    made = small_experiment(root)
    path = made.exp / "report.html"
    how = {
        "title": "A small experiment",
        "trials": [str(made.trials)],
        "data_dirs": [str(made.data)],
        "num_bootstrap": 50,
    }
    assert write_report([str(made.exp)], str(path), "html", **how) is None
    with Page(root / "profile") as page:
        page.resize(1280)
        page.open(path.as_uri())
        yield page


def test_curves_are_drawn(page):
    """Every curve of every system has an extent on the screen, within its figure."""
    boxes = page.evaluate("""
        [...document.querySelectorAll("figure .series")].map((curve) => {
            const [box, svg] = [curve.getBoundingClientRect(), curve.closest("svg").getBoundingClientRect()];
            return [curve.closest("figure").id, curve.dataset.series, box.width, box.height,
                    box.left < svg.right && box.right > svg.left && box.top < svg.bottom && box.bottom > svg.top];
        })""")
    systems = {"teacher", "sv_mixer", "transformer"}
    curves = {
        (figure, series) for figure, series, width, height, inside in boxes if width > 1 and height > 1 and inside
    }
    for name in systems:
        for figure in ("det_test", "sizes_test", "training", "layers"):
            assert (figure, name) in curves
        assert ("det_test", f"{name} + as-norm") in curves
    steps = page.evaluate("document.querySelectorAll('#scores_test path').length")
    assert steps >= 12  # both classes of six score files


def test_nothing_is_fetched(page):
    assert [url.rpartition("/")[2] for url in page.requests] == ["report.html"]
    references = page.evaluate("""
        [...document.querySelectorAll("[src], [href]")].map((e) => e.getAttribute("src") || e.getAttribute("href"))""")
    assert any(reference.endswith(".wav") for reference in references)
    assert [r for r in references if "//" in r] == []


def test_no_complaints(page):
    assert page.complaints == []


def test_audio_is_found(page):
    """Its links are relative, and spaces in them no hindrance."""
    seconds = page.evaluate("""
        new Promise((resolve, reject) => {
            const audio = document.querySelector("audio").cloneNode();
            audio.onloadedmetadata = () => resolve(audio.duration);
            audio.onerror = () => reject(audio.error.message);
            audio.preload = "metadata";
            audio.load();
        })""")
    assert seconds in (0.5, 1.0, 1.5, 2.0)


def test_a_click_sorts_the_table(page):
    column = """[...document.querySelectorAll("table.systems tbody tr")].map((row) => row.cells[1].dataset.value)"""
    click = """document.querySelectorAll("table.systems th button")[1].click()"""
    before = page.evaluate(column)
    page.evaluate(click)
    rising = page.evaluate(column)
    assert rising == sorted(before, key=float) and len(rising) == 6
    page.evaluate(click)
    assert page.evaluate(column) == rising[::-1]


def test_the_pointer_singles_out_a_system(page):
    shown = page.evaluate("""
        (() => {
            const row = document.querySelector('tr[data-series="sv_mixer"]');
            row.dispatchEvent(new PointerEvent("pointerenter"));
            const curves = [...document.querySelectorAll("#det_test .series")].filter(
                (curve) => curve.classList.contains("focus"));
            const names = curves.map((curve) => curve.dataset.series);
            row.dispatchEvent(new PointerEvent("pointerleave"));
            return [names, document.querySelectorAll(".has-focus").length];
        })()""")
    assert set(shown[0]) == {"sv_mixer"} and shown[1] == 0


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, False), (1280, True)])
def test_it_fits_the_window(page, capsys, width, dark):
    """Nothing but a wide table scrolls sideways. The screenshots are for people to look at."""
    page.resize(width, dark=dark)
    page.evaluate("document.querySelector('details').open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("Math.min(...[...document.querySelectorAll('figure svg')].map((s) => s.clientWidth))") > 300
    SCREENSHOTS.mkdir(exist_ok=True)
    path = SCREENSHOTS / f"report_{width}{'_dark' if dark else ''}.png"
    page.screenshot(path)
    assert path.stat().st_size > 20_000
    with capsys.disabled():
        print(f"\nscreenshot: {path}")
