import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from svtk.data.speech_activity_path import SILENCE, SPEECH, Topology, decode, emissions, viterbi

TOPOLOGIES = [
    Topology(1, 1, 0.0, 0.0),
    Topology(1, 1, 1.5, 0.25),
    Topology(3, 1, 0.5, 1.0),
    Topology(1, 4, 2.0, 0.0),
    Topology(2, 3, 1.0, 1.0),
]


def runs(path):
    return [(label, len(list(group))) for label, group in itertools.groupby(path)]


def is_allowed(path, topology):
    """Written down from the definition: inner runs last long enough, the first and the last may be cut off."""
    least = {SILENCE: topology.min_silence, SPEECH: topology.min_speech}
    return all(length >= least[label] for label, length in runs(path)[1:-1])


def score(path, scores, topology):
    """Of a path by its definition, in double precision."""
    total = sum(float(scores[t][label]) for t, label in enumerate(path))
    changes = [after for before, after in zip(path, path[1:], strict=False) if before != after]
    return total - sum(topology.to_speech if label == SPEECH else topology.to_silence for label in changes)


@pytest.mark.parametrize("topology", TOPOLOGIES, ids=str)
@pytest.mark.parametrize("length", [1, 2, 5, 9])
def test_viterbi_finds_what_trying_all_paths_finds(topology, length):
    generator = torch.Generator().manual_seed(length)
    scores = [emissions(2 * torch.randn(length, 2, generator=generator)) for _ in range(4)]
    for item, found in zip(scores, viterbi(scores, topology), strict=True):
        allowed = [path for path in itertools.product((0, 1), repeat=length) if is_allowed(path, topology)]
        best = max(allowed, key=lambda path: score(path, item, topology))
        assert tuple(found.tolist()) == best


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=1, max_size=9),
    durations=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    costs=st.tuples(st.integers(0, 4), st.integers(0, 4)),
)
def test_of_paths_that_tie_one_of_the_best_is_found(scores, durations, costs):
    topology = Topology(*durations, *map(float, costs))
    item = emissions(torch.tensor(scores, dtype=torch.float32))
    found = viterbi([item], topology)[0].tolist()
    allowed = [path for path in itertools.product((0, 1), repeat=len(scores)) if is_allowed(path, topology)]
    assert is_allowed(found, topology)
    assert score(found, item, topology) == max(score(path, item, topology) for path in allowed)


def test_short_bursts_and_pauses_are_no_segments():
    evidence = torch.full((100, 2), 0.0)
    evidence[:, SPEECH] = -3.0
    evidence[40:80, SPEECH] = 3.0
    evidence[10:13, SPEECH] = 3.0  # a click
    evidence[60:64, SPEECH] = -3.0  # a stop's closure
    [path] = decode([evidence], Topology(min_silence=10, min_speech=8, to_speech=2.0, to_silence=2.0), "torch")
    assert runs(path.tolist()) == [(SILENCE, 40), (SPEECH, 40), (SILENCE, 20)]


def test_an_utterance_may_begin_and_end_within_a_segment():
    evidence = torch.zeros(50, 2)
    evidence[:, SPEECH] = -5.0
    evidence[:3, SPEECH] = evidence[-2:, SPEECH] = 5.0
    [path] = decode([evidence], Topology(30, 10, 1.0, 1.0), "torch")
    assert runs(path.tolist()) == [(SPEECH, 3), (SILENCE, 45), (SPEECH, 2)]


def test_each_utterance_is_decoded_as_if_alone():
    generator = torch.Generator().manual_seed(3)
    items = [3 * torch.randn(length, 2, generator=generator) for length in (17, 0, 1, 60, 33)]
    topology = Topology(4, 3, 2.0, 1.0)
    together = decode(items, topology, "torch")
    assert [len(path) for path in together] == [17, 0, 1, 60, 33]
    for item, path in zip(items, together, strict=True):
        assert torch.equal(path, decode([item], topology, "torch")[0])
    assert [len(path) for path in decode([torch.zeros(0, 2)], topology, "torch")] == [0]


def test_a_constant_for_both_classes_changes_nothing():
    evidence = torch.randn(40, 2, generator=torch.Generator().manual_seed(5)).double()
    shifted = evidence + 1e4 * torch.rand(40, 1, generator=torch.Generator().manual_seed(6)).double()
    left, right = (decode([x], Topology(3, 2, 1.0, 1.0), "torch")[0] for x in (evidence, shifted))
    assert torch.equal(left, right)


def test_topologies_that_cannot_be_are_refused():
    for wrong in ({"min_speech": 0}, {"min_silence": 0}, {"to_speech": -1.0}, {"to_silence": np.inf}):
        with pytest.raises(ValueError):
            Topology(**wrong)
