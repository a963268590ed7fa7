"""What the report keeps of a score file."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from small_experiment import small_experiment
from svtk.kaldi.trials import Scores, Trials, read_scores, read_trials, write_scores, write_trials
from svtk.score.evaluate import Confidence, Request
from svtk.score.evaluate import evaluate as compute_metrics
from svtk.score.metrics import operating_points
from svtk.score.report.contents import read_contents
from svtk.score.report.data_dirs import DataDirs
from svtk.score.report.evaluation import NUM_ERRORS, evaluate
from svtk.score.report.sources import Source


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return small_experiment(tmp_path_factory.mktemp("report"))


def source(made, system: str = "sv_mixer") -> Source:
    directory = made.exp / system / "eval_test"
    return Source(system, "test", "", directory / "scores", made.trials / "test", directory / "llrs")


@pytest.fixture(scope="module")
def evaluation(made):
    return evaluate(source(made), DataDirs.read([str(made.data)]), 100)


def test_intervals_are_those_of_compute_metrics(made, evaluation):
    request = Request(utt2spk=str(made.data / "utt2spk"), confidence=Confidence(0.95, 100, 0))
    result = compute_metrics(str(source(made).scores), str(made.trials / "test"), request)
    assert evaluation.metrics.eer == result["eer"]
    assert list(evaluation.eer_interval) == pytest.approx(result["interval"]["eer"])
    low, high = evaluation.eer_interval
    assert low < evaluation.metrics.eer < high


def test_the_curve_lies_within_its_band(evaluation):
    band, det = evaluation.band, evaluation.det
    misses = np.interp(band.false_alarm, det.false_alarm[::-1], det.miss[::-1])
    inside = (band.low <= misses) & (misses <= band.high)
    assert inside.mean() > 0.95 and (band.low < band.high).any()


def test_groups_part_the_trials(made, evaluation):
    """Trials across the sexes are all nontargets: of them there is no EER."""
    groups = {(g.grouping, g.value): g for g in evaluation.groups}
    sexes = [value for grouping, value in groups if grouping == "sex"]
    assert sexes == ["f", "m"]
    assert sum(groups["sex", sex].num_targets for sex in sexes) == made.labels.sum()
    durations = [g for g in evaluation.groups if g.grouping.startswith("duration")]
    assert [g.value for g in durations] == ["<1", "1-1.5", ">=1.5"]
    assert sum(g.num_targets + g.num_nontargets for g in durations) == len(made.labels)
    scores, trials = read_scores(source(made).scores), read_trials(made.trials / "test")
    women = np.array(
        [int(a[1:3]) % 2 == 0 and int(b[1:3]) % 2 == 0 for a, b in zip(trials.enroll, trials.test, strict=True)]
    )
    wanted = operating_points(scores.scores[women], trials.labels[women])
    found = groups["sex", "f"]
    assert (found.num_targets, found.num_nontargets) == (trials.labels[women].sum(), (~trials.labels[women]).sum())
    low, high = found.interval
    assert low <= found.eer <= high
    assert np.abs(wanted.miss - found.eer).min() < 0.05


def test_groups_by_any_file(made, tmp_path, caplog):
    """Of words, and of numbers, which are put into three bins; a file that does not tell of all is left out."""
    trials = read_trials(made.trials / "test")
    keys = sorted({*trials.enroll, *trials.test})
    (tmp_path / "room").write_text("".join(f"{key} {'near' if key[-1] in '01' else 'far'}\n" for key in keys))
    (tmp_path / "snr").write_text("".join(f"{key} {number}\n" for number, key in enumerate(keys)))
    (tmp_path / "partial").write_text("s00-0 x\n")
    files = [str(tmp_path / name) for name in ("room", "snr", "partial")]
    found = evaluate(source(made), DataDirs({}), 0, files).groups
    assert [g.value for g in found if g.grouping == "room"] == ["far", "far/near", "near"]
    assert [g.value for g in found if g.grouping == "snr"] == ["<16", "16-31", ">=31"]
    assert {g.grouping for g in found} == {"room", "snr"} and "not by partial" in caplog.text
    assert all(g.interval is None for g in found)


def test_the_worst_errors_are_the_extreme_trials(made, evaluation):
    scores, trials = read_scores(source(made).scores), read_trials(made.trials / "test")
    every = [(s, a, b, x) for s, a, b, x in zip(scores.scores, scores.enroll, scores.test, trials.labels, strict=True)]
    nontargets = sorted((row for row in every if not row[3]), reverse=True)[:NUM_ERRORS]
    targets = sorted(row for row in every if row[3])[:NUM_ERRORS]
    for found, wanted in ((evaluation.false_alarms, nontargets), (evaluation.misses, targets)):
        assert [(e.score, e.enroll, e.test) for e in found] == [row[:3] for row in wanted]


def test_histograms_hold_all_scores(evaluation):
    widths = np.diff(evaluation.histogram.edges)
    for densities in (evaluation.histogram.targets, evaluation.histogram.nontargets):
        assert (densities * widths).sum() == pytest.approx(1)


def test_calibrated_ratios_are_measured(made, evaluation):
    llrs, labels = read_scores(source(made).llrs).scores, read_trials(made.trials / "test").labels
    wanted = (np.log2(1 + np.exp(-llrs[labels])).mean() + np.log2(1 + np.exp(llrs[~labels])).mean()) / 2
    assert evaluation.calibrated.cllr == pytest.approx(wanted)


def test_a_long_list_is_thinned(tmp_path):
    """The page's size does not grow with the trials, and the thinned curve keeps to the whole one."""
    rng = np.random.default_rng(8)
    number = 60_000
    labels = rng.random(number) < 0.3
    scores = np.round(rng.standard_normal(number) + 2 * labels, 6)
    keys = [f"u{i}" for i in range(number)]
    write_scores(tmp_path / "scores", Scores(keys, keys, scores))
    write_trials(tmp_path / "trials", Trials(keys, keys, labels))
    found = evaluate(Source("a", "trials", "", tmp_path / "scores", tmp_path / "trials"), DataDirs({}), 0)
    assert len(found.det.miss) <= 1000 and found.band is None and found.groups == []
    whole = operating_points(scores, labels)
    misses = np.interp(whole.false_alarm[::-1], found.det.false_alarm[::-1], found.det.miss[::-1])[::-1]
    assert np.abs(misses - whole.miss)[whole.false_alarm > 1e-3].max() < 0.01


@pytest.mark.parametrize("scores", [[1.0, 1.0, 1.0], [np.inf, 0.0, -np.inf], [0.0, 1.0, 2.0]])
def test_odd_scores_are_drawn(tmp_path, scores):
    """Constant scores, infinite ones, and a system that is always wrong."""
    from svtk.score.report.drawings import drawings
    from svtk.score.report.figures import to_svg

    (tmp_path / "trials").write_text("a b target\na c nontarget\na d nontarget\n")
    lines = (f"a {key} {score}\n" for key, score in zip("bcd", scores, strict=True))
    (tmp_path / "scores").write_text("".join(lines))
    contents = read_contents([str(tmp_path / "scores")], [str(tmp_path / "trials")])
    drawn = drawings(contents)
    assert [drawing.name for drawing in drawn] == ["det_trials", "scores_trials"]
    assert all(to_svg(drawing.draw()).count("<path") > 5 for drawing in drawn)


def test_unknown_utterances_cost_the_intervals_only(made, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        (tmp_path / "trials").write_text("s00-0 s00-1 target\ns00-0 stranger nontarget\n")
        (tmp_path / "scores").write_text("s00-0 s00-1 1\ns00-0 stranger 0\n")
        found = evaluate(
            Source("a", "trials", "", tmp_path / "scores", tmp_path / "trials"), DataDirs.read([str(made.data)]), 50
        )
    assert found.eer_interval is None and found.band is None and found.groups == []
    assert "no intervals and no groups" in caplog.text


def test_links_to_audio(made, tmp_path):
    """Relative to the page, with the times of a segment; none for a pipe."""
    (tmp_path / "a b.wav").write_bytes(b"")
    (tmp_path / "wav.scp").write_text(f"one {tmp_path}/a b.wav\ntwo cat x.wav |\n")
    (tmp_path / "segments").write_text("u one 1.5 2.25\nv two 0 1\n")
    (tmp_path / "utt2spk").write_text("u s\nv s\n")
    data = DataDirs.read([str(tmp_path)])
    assert data.audio_link("u", tmp_path / "pages") == "../a%20b.wav#t=1.5,2.25"
    assert data.audio_link("v", Path()) is None and data.audio_link("nobody", Path()) is None
