"""svtk report, as a user runs it."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys

import pytest

from small_experiment import small_experiment
from svtk.provenance import recorded


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return small_experiment(tmp_path_factory.mktemp("report"))


def scores_of(made, *systems: str) -> list[str]:
    return [str(made.exp / system / "eval_test" / "scores") for system in systems]


def test_a_page_by_its_name(made, tmp_path):
    """In a process of its own, which needs no torch, from another directory than the output's."""
    output = tmp_path / "pages" / "report.html"
    output.parent.mkdir()
    words = ["report", "--num-bootstrap", "20", "--trials", made.trials, "--data-dir", made.data, made.exp, output]
    program = (
        "import sys; from svtk.cli.main import main; sys.argv[0] = 'svtk'\n"
        "try: main()\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program, *map(str, words)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    page = output.read_text()
    assert page.count("<h1>") == 1 and "Speaker verification: exp" in page
    assert not re.search(r"(src|href)=\"[a-z]+:", page) and "@import" not in page and "url(h" not in page
    assert {"report.html", "report.html.provenance.json"} == {file.name for file in output.parent.iterdir()}
    record = json.loads((output.parent / "report.html.provenance.json").read_text())["inputs"]
    read = {item["path"]: item["sha256"] for name, item in record.items() if not name.startswith("data_dirs")}
    expected = [made.trials / "test", *made.exp.glob("*/*.*"), *made.exp.glob("*/eval_*/*")]
    assert set(read) == {str(path) for path in expected} and all(read.values())
    link = re.search(r'<audio[^>]* src="([^"]+)"', page)[1]
    assert link.startswith("../") and "wav%20files/s" in link


def test_text_and_markdown(svtk_main, made, tmp_path):
    text = svtk_main("report", "--title", "Three", made.exp)
    assert text.code == 0 and text.stdout.startswith("Three\n\nsystem ")
    done = svtk_main("report", "--trials", made.trials, made.exp, tmp_path / "report.md")
    assert (done.code, done.stdout) == (0, "")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in (tmp_path / "report.md").read_text().splitlines()
    ]
    assert [row[0] for row in rows[2:]] == ["teacher", "sv_mixer", "transformer"] * 2
    errors = [float(row[2]) for row in rows[2:5]]
    assert errors == sorted(errors) and errors[0] > 0  # computed: there are no metrics.json


def test_the_table_agrees_with_compute_metrics(svtk_main, made):
    """Score files outside an experiment are called by what tells their paths apart."""
    files = scores_of(made, "sv_mixer", "transformer")
    done = svtk_main("report", "--trials", made.trials / "test", *files)
    rows = [line.split() for line in done.stdout.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["sv_mixer", "test"], ["transformer", "test"]]
    for row, file in zip(rows, files, strict=True):
        metrics = svtk_main("compute-metrics", file, made.trials / "test").stdout
        assert row[2] in re.search(r"EER.*", metrics)[0]


def test_figures_for_a_paper(svtk_main, made, tmp_path):
    """All of an experiment; those of score files alone in every format."""
    scores = scores_of(made, "sv_mixer", "transformer")
    of_scores, of_all = {"det_test", "scores_test"}, {"det_test", "scores_test", "sizes_test", "training", "layers"}
    for form, magic, inputs, names in (
        ("svg", b"<?xml", [made.exp], of_all),
        ("png", b"\x89PNG", scores, of_scores),
        ("pdf", b"%PDF", scores, of_scores),
    ):
        directory = tmp_path / form
        done = svtk_main("report", "--format", form, "--trials", made.trials, *inputs, directory)
        assert (done.code, done.stdout) == (0, ""), done.stderr
        figures = {path.stem: path for path in directory.glob(f"*.{form}")}
        assert set(figures) == names
        assert all(path.read_bytes().startswith(magic) for path in figures.values())
        assert not list(directory.glob("*.part"))


def test_without_trials_the_page_has_what_is_known(svtk_main, made):
    done = svtk_main("report", "--format", "html", made.exp)
    assert done.code == 0 and "Learned layer weights" in done.stdout and "DET curves" not in done.stdout


def test_names_are_text_not_markup(svtk_main, made, tmp_path):
    name = tmp_path / "<b>&\"' url(#x id=.scores"
    name.write_bytes((made.exp / "teacher" / "eval_test" / "scores").read_bytes())
    done = svtk_main("report", "--format", "html", "--title", "</title><script>", "--trials", made.trials, name)
    assert done.code == 0
    assert "<b>" not in done.stdout and "</title><script>" not in done.stdout
    series = {html.unescape(key) for key in re.findall(r'data-series="([^"]*)"', done.stdout)}
    assert series == {name.stem}  # of the table and of the curves
    texts = [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", done.stdout)]
    assert texts.count(name.stem) >= 2  # a legend, a panel of the histograms
    done = svtk_main("report", "--format", "md", "--trials", made.trials, name)
    assert "| \\<b>\\&\"' url(#x id= | test" in done.stdout


def test_scores_that_lack_trials(svtk_main, made, tmp_path):
    """After ``svtk score --missing skip``."""
    lines = (made.exp / "teacher" / "eval_test" / "scores").read_text().splitlines(keepends=True)
    (tmp_path / "some").write_text("".join(lines[:-5]))
    trials = made.trials / "test"
    done = svtk_main("report", "--trials", trials, tmp_path / "some")
    assert done.code == 1 and "5 trial(s) without a score" in done.stderr
    done = svtk_main("report", "--missing", "skip", "--format", "html", "--trials", trials, tmp_path / "some")
    assert done.code == 0 and "Left out of some: 5 trials without a score." in done.stdout
    [count] = re.findall(r"<p>([\d,]+) target and ([\d,]+) nontarget trials", done.stdout)
    assert sum(int(number.replace(",", "")) for number in count) == len(lines) - 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "md", "EXP", "page.html"], "--format md does not go with OUTPUT page.html"),
        (["page.html"], "expected EXP_DIR or SCORES before OUTPUT"),
        (["--format", "pdf", "EXP"], "expected EXP_DIR or SCORES before OUTPUT"),
        (["EXP", "figure.pdf"], "figures go to a directory: --format pdf"),
    ],
)
def test_wrong_usage(svtk_main, made, words, message):
    done = svtk_main("report", *[str(made.exp) if word == "EXP" else word for word in words])
    assert done.code == 2 and message in done.stderr


def test_errors_name_what_is_wrong(svtk_main, made, tmp_path):
    teacher, sv_mixer = scores_of(made, "teacher", "sv_mixer")
    assert (
        "no such experiment directory or score file" in svtk_main("report", "--trials", made.trials, "nowhere").stderr
    )
    done = svtk_main("report", "--trials", made.trials, teacher, made.exp)
    assert done.code == 1 and "a directory among score files" in done.stderr
    assert "named twice" in svtk_main("report", "--trials", made.trials, teacher, teacher).stderr
    other = tmp_path / "other"
    other.write_text("a b target\na c nontarget\n")
    done = svtk_main("report", "--trials", other, teacher, tmp_path / "report.html")
    assert done.code == 1 and "without a trial" in done.stderr and not (tmp_path / "report.html").exists()
    third = tmp_path / "third"
    third.write_text("a b target\na c nontarget\na d target\n")
    done = svtk_main("report", "--trials", other, "--trials", third, teacher)
    assert done.code == 1 and "none of other, third" in done.stderr
    done = svtk_main("report", "--format", "svg", "--trials", made.trials, sv_mixer, other)
    assert done.code == 1 and "not a directory" in done.stderr


def test_each_score_file_finds_its_list(svtk_main, made, tmp_path):
    (tmp_path / "b").write_text("x y target\nx z nontarget\n")
    (tmp_path / "b.scores").write_text("x y 1\nx z 0\n")
    lists = ["--trials", made.trials / "test", "--trials", tmp_path / "b"]
    (tmp_path / "a.scores").write_bytes((made.exp / "teacher" / "eval_test" / "scores").read_bytes())
    done = svtk_main("report", *lists, tmp_path / "a.scores", tmp_path / "b.scores")
    assert [line.split()[:2] for line in done.stdout.splitlines()[2:]] == [["b", "b"], ["a", "test"]]


def test_labels_of_the_scores_own(svtk_main, tmp_path):
    (tmp_path / "scores").write_text("x y 1 target\nx z 0 nontarget\n")
    done = svtk_main("report", tmp_path / "scores")
    assert done.code == 0 and done.stdout.splitlines()[2].split()[:3] == ["scores", "scores", "0.00"]


def test_how_scores_were_made(svtk_main, made, tmp_path):
    """What the record beside a score file says stands in the page."""
    scores = tmp_path / "scores"
    with recorded({}, [str(scores)], {}):
        scores.write_bytes((made.exp / "teacher" / "eval_test" / "scores").read_bytes())
    record = tmp_path / "scores.provenance.json"
    mapping = json.loads(record.read_text())
    record.write_text(json.dumps({**mapping, "command": ["svtk", "score", "a trial <list>"]}))
    done = svtk_main("report", "--format", "html", "--trials", made.trials, scores)
    assert "svtk score &#39;a trial &lt;list&gt;&#39;" in done.stdout and mapping["date"] in done.stdout
