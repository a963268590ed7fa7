"""The best path of speech and silence through a finite-state topology: minimum durations and costs of changing.

Frames are of 10 ms, label 0 is silence and 1 is speech. A class is a chain of as many states as its minimum duration
has frames, the last of them with a loop, and leads to the other class's first state at a cost. An utterance may begin
and end inside of a segment: it starts in either class's last state and may end in any.

With k2 installed the topology is decoded by :mod:`svtk.data.k2_decoding`, else by :func:`viterbi` here. This module
needs torch alone, and like that one works with torch 1.13 and 2 and with Python 3.9, which PyPI's k2 is built for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor

__all__ = ["SILENCE", "SPEECH", "Topology", "decode", "emissions", "viterbi"]

SILENCE, SPEECH = 0, 1


@dataclasses.dataclass(frozen=True)
class Topology:
    """What paths there are.

    Attributes:
        min_silence, min_speech: frames that a segment lasts at least, but for an utterance's first and last one.
        to_speech, to_silence: costs of a change, in nats of the frames' log-likelihoods.
    """

    min_silence: int = 30
    min_speech: int = 10
    to_speech: float = 20.0
    to_silence: float = 20.0

    def __post_init__(self) -> None:
        if self.min_silence < 1 or self.min_speech < 1:
            raise ValueError("minimum durations are of at least one frame")
        if not (0 <= self.to_speech < float("inf") and 0 <= self.to_silence < float("inf")):
            raise ValueError("costs of a change may not be negative or infinite")

    def first(self, label: int) -> int:
        """The first state of a class; silence's chain comes first."""
        return 0 if label == SILENCE else self.min_silence

    def last(self, label: int) -> int:
        """The last state of a class, the one with the loop."""
        return self.num_states - 1 if label == SPEECH else self.min_silence - 1

    @property
    def num_states(self) -> int:
        """Of both chains."""
        return self.min_silence + self.min_speech

    def label(self, state: int) -> int:
        """The class of a state."""
        return SPEECH if state >= self.min_silence else SILENCE

    def cost(self, label: int) -> float:
        """Of a change to the class *label*."""
        return self.to_speech if label == SPEECH else self.to_silence

    def arcs(self) -> list[tuple[int, int, float]]:
        """``(from state, to state, score)`` of all that may follow each other, by their first state."""
        result = []
        for state in range(self.num_states):
            label = self.label(state)
            if state != self.last(label):
                result.append((state, state + 1, 0.0))
                continue
            other = SPEECH - label
            result += [(state, state, 0.0), (state, self.first(other), -self.cost(other))]
        return result


def emissions(loglikes: Tensor) -> Tensor:
    """Log-likelihoods (T, 2) → float32 (T, 2) with 0 for the likelier class: scores of long utterances stay small."""
    return (loglikes - loglikes.max(dim=1, keepdim=True).values).float()


def decode(loglikes: Sequence[Tensor], topology: Topology, engine: Optional[str] = None) -> list[Tensor]:  # noqa: UP045
    """The best path of each utterance.

    Both engines add the same float32 arc scores in double precision from left to right, so that they find the same
    path, unless two best paths score exactly the same: then either may be found.

    Args:
        loglikes: of silence and speech by frame, each (T_i, 2), in nats; T_i may be 0.
        topology: the paths there are.
        engine: ``k2``, ``torch``, or None: k2 where it is installed.

    Returns:
        labels, each int64 (T_i,).

    Raises:
        ImportError: the engine is ``k2``, and there is none.
    """
    scores = [emissions(item) if len(item) else item.new_zeros((0, 2)).float() for item in loglikes]
    if engine is None:
        engine = "k2" if _has_k2() else "torch"
    if engine == "torch":
        return viterbi(scores, topology)
    from svtk.data.k2_decoding import k2_viterbi

    return k2_viterbi(scores, topology)


def _has_k2() -> bool:
    try:
        import svtk.data.k2_decoding  # noqa: F401
    except (ImportError, OSError):  # not installed, or not for this torch
        return False
    return True


def viterbi(scores: Sequence[Tensor], topology: Topology) -> list[Tensor]:
    """The best path of each utterance, all at a time; of equal ones that which changes later.

    Args:
        scores: what :func:`emissions` gives, each (T_i, 2).
        topology: the paths there are.

    Returns:
        labels, each int64 (T_i,).
    """
    lengths = [len(item) for item in scores]
    if not any(lengths):
        return [torch.zeros(0, dtype=torch.int64) for _ in scores]
    padded = torch.nn.utils.rnn.pad_sequence(list(scores), batch_first=True)  # (B, T, 2)
    batch, frames, _ = padded.shape
    device, states = padded.device, topology.num_states
    labels = torch.tensor([topology.label(state) for state in range(states)], device=device)
    # Every state is entered from the one before it, but for first states, entered from the other class's last ...
    source = torch.arange(states, device=device) - 1
    cost = torch.zeros(states, device=device)  # float32, as k2's arcs are
    for label in (SILENCE, SPEECH):
        source[topology.first(label)] = topology.last(SPEECH - label)
        cost[topology.first(label)] = -topology.cost(label)
    lasts = torch.tensor([topology.last(SILENCE), topology.last(SPEECH)], device=device)  # ... and last ones by a loop
    best = torch.full((batch, states), -float("inf"), dtype=torch.float64, device=device)
    best[:, lasts] = padded[:, 0].double()
    stayed = torch.ones((frames, batch, 2), dtype=torch.bool, device=device)
    ends = [best.argmax(dim=1)]  # where an utterance would end that has no more frames
    for t in range(1, frames):
        emitted = padded[:, t][:, labels]  # (B, S)
        entered = best[:, source] + (cost + emitted).double()
        looped = best[:, lasts] + padded[:, t].double()
        stayed[t] = looped >= entered[:, lasts]
        best = entered
        best[:, lasts] = torch.where(stayed[t], looped, entered[:, lasts])
        ends.append(best.argmax(dim=1))
    return _trace_back(torch.stack(ends).tolist(), stayed.tolist(), lengths, source.tolist(), topology)


def _trace_back(
    ends: list[list[int]],
    stayed: list[list[list[bool]]],
    lengths: Sequence[int],
    source: Sequence[int],
    topology: Topology,
) -> list[Tensor]:
    """Labels from the best state at each utterance's end; *stayed* (T, B, 2) tells how its last states were reached."""
    paths = []
    lasts = {topology.last(label): label for label in (SILENCE, SPEECH)}
    for index, length in enumerate(lengths):
        path = [0] * length
        state = ends[length - 1][index] if length else 0
        for t in range(length - 1, -1, -1):
            path[t] = topology.label(state)
            if state not in lasts or not stayed[t][index][lasts[state]]:
                state = source[state]
        paths.append(torch.tensor(path, dtype=torch.int64))
    return paths
