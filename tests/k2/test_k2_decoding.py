"""k2 and torch find the same segments. ``make test-k2`` runs this, in an environment that PyPI's k2 was built for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from svtk.data.speech_activity import TwoGaussians
from svtk.data.speech_activity_path import SPEECH, Topology, decode, emissions

k2 = pytest.importorskip("k2", reason="k2 is not installed; make test-k2 runs these tests")
from svtk.data.k2_decoding import topology_fsa  # noqa: E402

REAL = Path(__file__).with_name("log_energies.txt")

TOPOLOGIES = [Topology(), Topology(1, 1, 0.0, 0.0), Topology(15, 10, 5.0, 10.0), Topology(3, 7, 0.5, 0.0)]


def assert_same(loglikes, topology):
    by_k2, by_torch = (decode(loglikes, topology, engine) for engine in ("k2", "torch"))
    for item, left, right in zip(loglikes, by_k2, by_torch):  # noqa: B905
        assert left.dtype == right.dtype == torch.int64
        assert left.tolist() == right.tolist() and len(left) == len(item)
    return by_k2


def score(path, scores, topology):
    path = path.tolist()
    total = sum(float(scores[t][label]) for t, label in enumerate(path))
    changes = [after for before, after in zip(path, path[1:]) if before != after]  # noqa: B905
    return total - sum(topology.to_speech if label == SPEECH else topology.to_silence for label in changes)


@pytest.mark.parametrize("topology", TOPOLOGIES, ids=str)
def test_real_speech(topology):
    """Log-energies of eight utterances of speechocean762 (OpenSLR 101), by the energy detector."""
    rows = [line.split("[")[1].strip(" ]\n").split() for line in REAL.read_text().splitlines()]
    loglikes = [torch.from_numpy(TwoGaussians()(np.array(row, np.float32), 400)) for row in rows]
    paths = assert_same(loglikes, topology)
    assert all(0.2 < path.double().mean() < 0.95 for path in paths)  # there is something to decide


@pytest.mark.parametrize("topology", TOPOLOGIES, ids=str)
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_random_posteriors(topology, scale):
    generator = torch.Generator().manual_seed(7)
    lengths = [1, 2, 400, 0, 37, 399, 0, 150]
    loglikes = [torch.log_softmax(scale * torch.randn(n, 2, generator=generator), 1) for n in lengths]
    paths = assert_same(loglikes, topology)
    for item, path in zip(loglikes, paths):  # noqa: B905
        assert torch.equal(path, decode([item], topology, "k2")[0])  # in a batch as alone


@pytest.mark.parametrize("num_frames", [60_000, 70_000])
def test_long_recordings(num_frames):
    """k2 itself errs in silence on more than 2 ** 16 frames, which is why those do not reach it."""
    loglikes = 2 * torch.randn(num_frames, 2, generator=torch.Generator().manual_seed(1))
    assert 0.3 < assert_same([loglikes, loglikes[:50]], Topology(5, 5, 2.0, 2.0))[0].double().mean() < 0.7


def test_nothing():
    assert decode([], Topology(), "k2") == [] and len(decode([torch.zeros(0, 2)], Topology(), "k2")[0]) == 0


topologies = st.builds(
    Topology, st.integers(1, 6), st.integers(1, 6), st.floats(0, 8, width=32), st.floats(0, 8, width=32)
)


@settings(max_examples=80, deadline=None)
@given(topologies, st.lists(st.integers(0, 40), min_size=1, max_size=4), st.integers(0, 2**32))
def test_any_topology_and_lengths(topology, lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    assert_same([2 * torch.randn(n, 2, generator=generator) for n in lengths], topology)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=25),
    st.builds(Topology, st.integers(1, 4), st.integers(1, 4), st.sampled_from([0.0, 1.0, 2.0]), st.just(1.0)),
)
def test_of_paths_that_tie_both_find_one_of_the_best(rows, topology):
    """Whole numbers tie often; then the two may differ, but not in what they are worth."""
    loglikes = torch.tensor(rows, dtype=torch.float32)
    left, right = (decode([loglikes], topology, engine)[0] for engine in ("k2", "torch"))
    scores = emissions(loglikes)
    assert score(left, scores, topology) == score(right, scores, topology)


def test_the_topology_as_an_acceptor():
    topology = Topology(min_silence=3, min_speech=2, to_speech=1.5, to_silence=0.5)
    fsa = topology_fsa(topology)
    arcs = fsa.arcs.values().tolist()
    found = {(origin, to, label) for origin, to, label, _ in arcs}
    states = range(1, 6)  # 1 2 3: silence, 4 5: speech, 6: final
    assert found == {
        *((0, 3, 0), (0, 5, 1)),  # begins in either class's last state
        *((1, 2, 0), (2, 3, 0), (3, 3, 0), (3, 4, 1)),
        *((4, 5, 1), (5, 5, 1), (5, 1, 0)),
        *((state, 6, -1) for state in states),
    }
    costs = {(o, t): s for (o, t, _, _), s in zip(arcs, fsa.scores.tolist())}  # noqa: B905
    assert costs[3, 4] == -1.5 and costs[5, 1] == -0.5 and sum(map(abs, costs.values())) == 2.0
