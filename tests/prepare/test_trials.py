from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from svtk.errors import DataError
from svtk.kaldi.datadir import DataDir, Utterance, write_data_dir
from svtk.kaldi.trials import read_trials
from svtk.prepare.trials import draw_trials


def data_dir(counts):
    """Speaker -> (sex, number of utterances) as a data directory; speakers interleaved in utt2spk's order."""
    utterances = [
        Utterance(f"{spk}-{n}", spk, "x.wav", f"{spk}-{n}", duration=1.0, gender=sex)
        for spk, (sex, count) in counts.items()
        for n in range(count)
    ]
    return DataDir(Path("data"), sorted(utterances, key=lambda u: u.utt[::-1]))


COUNTS = {"ann": ("f", 3), "bob": ("m", 4), "cat": ("f", 1), "dan": ("m", 2), "eve": ("f", 5)}


def as_set(trials):
    return set(zip(trials.enroll, trials.test, trials.labels.tolist(), strict=True))


@pytest.mark.parametrize("same_sex", [False, True])
def test_all_pairs_are_those_of_a_double_loop(same_sex):
    data = data_dir(COUNTS)
    expected = [
        (a.utt, b.utt, a.spk == b.spk)
        for a, b in itertools.combinations(data.utterances, 2)
        if not same_sex or a.gender == b.gender
    ]
    trials = draw_trials(data, same_sex=same_sex)
    assert list(zip(trials.enroll, trials.test, trials.labels.tolist(), strict=True)) == expected


@pytest.mark.parametrize("same_sex", [False, True])
def test_a_draw_is_balanced_without_repetition_and_seeded(same_sex):
    data = data_dir(COUNTS)
    every = as_set(draw_trials(data, same_sex=same_sex))
    drawn = draw_trials(data, same_sex=same_sex, num_trials=20, seed=1)
    assert len(drawn) == 20 and drawn.labels.sum() == 10
    assert len(as_set(drawn)) == 20 and as_set(drawn) <= every
    assert as_set(draw_trials(data, same_sex=same_sex, num_trials=20, seed=1)) == as_set(drawn)
    assert as_set(draw_trials(data, same_sex=same_sex, num_trials=20, seed=2)) != as_set(drawn)


def test_a_draw_of_all_target_pairs_has_each_once():
    data = data_dir({"a": ("f", 4), "b": ("m", 4)})  # 6 + 6 target pairs, 16 nontarget
    drawn = draw_trials(data, num_trials=24)
    assert {pair for pair in as_set(drawn) if pair[2]} == {pair for pair in as_set(draw_trials(data)) if pair[2]}


def test_draws_are_even_over_pairs():
    data = data_dir({"a": ("f", 3), "b": ("m", 3)})  # 6 target, 9 nontarget pairs
    counts = {}
    for seed in range(600):
        for pair in as_set(draw_trials(data, num_trials=2, seed=seed)):
            counts[pair] = counts.get(pair, 0) + 1
    assert len(counts) == 15
    for (_, _, target), count in counts.items():
        expected = 600 / (6 if target else 9)
        assert abs(count - expected) < 5 * expected**0.5


def test_a_million_utterances_are_no_obstacle():
    data = data_dir({f"s{i:03d}": ("m", 500) for i in range(400)})  # 2e10 pairs
    start = time.process_time()
    drawn = draw_trials(data, num_trials=1000)
    assert len(as_set(drawn)) == 1000 and time.process_time() - start < 20
    for enroll, test, label in as_set(drawn):
        assert (enroll.split("-")[0] == test.split("-")[0]) == label
    with pytest.raises(DataError, match="too many pairs"):
        draw_trials(data)


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ({"a": ("f", 1), "b": ("m", 1)}, {}, "0 target and 1 nontarget"),
        ({"a": ("f", 3)}, {}, "3 target and 0 nontarget"),
        ({"a": ("f", 3), "b": ("m", 3)}, {"same_sex": True}, "6 target and 0 nontarget"),
        ({"a": ("f", 3), "b": (None, 3)}, {"same_sex": True}, "data/spk2gender: speaker 'b' has no sex"),
        ({"a": ("f", 2), "b": ("m", 2)}, {"num_trials": 6}, "not enough target pairs; found 2; expected 3"),
        ({"a": ("f", 9), "b": ("m", 1)}, {"num_trials": 20}, "not enough nontarget pairs; found 9; expected 10"),
        ({"a": ("f", 2), "b": ("m", 2)}, {"num_trials": 3}, "expected an even number"),
        ({"a": ("f", 2), "b": ("m", 2)}, {"num_trials": 0}, "expected an even number"),
    ],
)
def test_errors(counts, options, message):
    with pytest.raises(DataError, match=message):
        draw_trials(data_dir(counts), **options)


@pytest.fixture
def written(tmp_path):
    return write_data_dir(tmp_path / "data", data_dir(COUNTS).utterances).path


def test_verb(written, verb, tmp_path):
    done = verb("make-trials", written, tmp_path / "trials")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and "20 target and 85 nontarget" in done.stderr
    trials = read_trials(tmp_path / "trials")
    assert len(trials) == 105 and trials.labels.sum() == 20
    assert (tmp_path / "trials").read_text().splitlines()[0] == "ann-0 ann-1 target"
    done = verb("make-trials", "--same-sex", "--num-trials", 10, "--seed", 5, written, tmp_path / "few")
    assert done.returncode == 0 and len((tmp_path / "few").read_text().splitlines()) == 10


def test_verb_says_what_is_wrong_in_one_line(written, verb, tmp_path):
    (written / "spk2gender").unlink()
    done = verb("make-trials", "--same-sex", written, tmp_path / "trials")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert "spk2gender" in line and "'ann'" in line and "To mend" in line
    assert not (tmp_path / "trials").exists()
    (written / "utt2spk").write_text((written / "utt2spk").read_text().replace("bob-3 bob\n", ""))
    done = verb("make-trials", written, tmp_path / "trials")
    assert done.returncode == 1 and "wav.scp:7:" in done.stderr and "'bob-3' is not in utt2spk" in done.stderr
