"""The best path of speech and silence by k2 (https://github.com/k2-fsa/k2): the only module that imports it.

It needs k2 and torch alone, torch 1.13 or 2, and Python 3.9 or newer.
"""

from __future__ import annotations

from collections.abc import Sequence

import k2
import torch
from torch import Tensor

from svtk.data.speech_activity_path import SILENCE, SPEECH, Topology, viterbi

__all__ = ["k2_viterbi", "topology_fsa"]

_BEAM = 50.0  # in nats: only the best path is wanted
_MOST_FRAMES = 60_000  # of one utterance: from 65,535 on k2 1.23.4 finds other than the best path, and says nothing


def topology_fsa(topology: Topology) -> k2.Fsa:
    """The topology as an acceptor: a start state, one state for each of its own (from 1 on), and the final state.

    An arc's label is the class of the state that it leads to, so that a path has one label for each frame.
    """
    final = topology.num_states + 1
    lines = [f"0 {topology.last(label) + 1} {label} 0.0" for label in (SILENCE, SPEECH)]
    arcs = topology.arcs()
    for state in range(topology.num_states):
        follow = [(to, score) for origin, to, score in arcs if origin == state]
        lines += [f"{state + 1} {to + 1} {topology.label(to)} {score!r}" for to, score in follow]
        lines.append(f"{state + 1} {final} -1 0.0")
    lines.append(str(final))
    return k2.arc_sort(k2.Fsa.from_str("\n".join(lines), acceptor=True))


def k2_viterbi(scores: Sequence[Tensor], topology: Topology) -> list[Tensor]:
    """The best path of each utterance, all at a time; those of more than ten minutes by torch.

    Args:
        scores: log-likelihoods of silence and speech, each float32 (T_i, 2); T_i may be 0.
        topology: the paths there are.

    Returns:
        labels, each int64 (T_i,).
    """
    paths = [
        torch.zeros(len(item), dtype=torch.int64) if len(item) <= _MOST_FRAMES else viterbi([item], topology)[0]
        for item in scores
    ]
    order = sorted((i for i, item in enumerate(scores) if 0 < len(item) <= _MOST_FRAMES), key=lambda i: -len(scores[i]))
    if not order:
        return paths
    padded = torch.nn.utils.rnn.pad_sequence([scores[i] for i in order], batch_first=True)  # (B, T, 2)
    segments = torch.tensor([[row, 0, len(scores[i])] for row, i in enumerate(order)], dtype=torch.int32)
    dense = k2.DenseFsaVec(padded, segments)
    fsas = k2.create_fsa_vec([topology_fsa(topology)] * len(order)).to(padded.device)
    lattice = k2.intersect_dense(fsas, dense, output_beam=_BEAM)
    best = k2.shortest_path(lattice, use_double_scores=True)
    labels = best.labels.cpu().long()
    ends = (labels == -1).nonzero().flatten().tolist()  # each path's arc to the final state
    start = 0
    for i, end in zip(order, ends):  # noqa: B905  (no strict in Python 3.9)
        paths[i] = labels[start:end]
        start = end + 1
    return paths
