"""Make trial lists from a data directory: all pairs, or a balanced random choice."""

from __future__ import annotations

import os

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.datadir import DataDir, read_data_dir
from svtk.kaldi.trials import Trials, write_trials

__all__ = ["draw_trials", "make_trials"]

_MOST = 50_000_000  # trials in one list: about 3 GB of text


def draw_trials(data: DataDir, *, same_sex: bool = False, num_trials: int | None = None, seed: int = 0) -> Trials:
    """Pair the utterances of *data*, each pair once, the earlier utterance (in utt2spk's order) enrolled.

    Pairs are numbered, not listed: sorted by sex and speaker, utterance ``i`` has as target partners the rest
    of its speaker's block and as nontarget partners everything from there to the end of its sex's block, so
    a draw without replacement is a draw of pair numbers, however many utterances there are.

    Args:
        data: a data directory.
        same_sex: pair only speakers of the same sex.
        num_trials: half as many target and as many nontarget trials, drawn without replacement; None = all pairs.
        seed: of the draw.

    Returns:
        labelled trials in the order of (enroll, test).

    Raises:
        DataError: a speaker without sex, no pairs, fewer pairs than asked for, or too many to list.
    """
    utterances = data.utterances
    if same_sex:
        for u in utterances:
            if u.gender is None:
                raise DataError(
                    f"speaker {u.spk!r} has no sex, which --same-sex needs",
                    path=data.path / "spk2gender",
                    expected="'SPK m|f' for every speaker",
                    mend="prepare with --speakers speakers.tsv, or add the line",
                )
    if num_trials is not None and (num_trials < 2 or num_trials % 2):
        raise DataError(
            "half of the trials are target trials",
            found=f"--num-trials {num_trials}",
            expected="an even number above 0",
        )
    _, spk = np.unique([u.spk for u in utterances], return_inverse=True)
    _, sex = np.unique([u.gender if same_sex else "" for u in utterances], return_inverse=True)
    order = np.lexsort((np.arange(len(spk)), spk, sex))  # (N,) sorted place -> place in utt2spk
    after_spk, after_sex = _block_ends(spk[order]), _block_ends(sex[order])
    first = np.arange(len(order)) + 1
    num_targets, num_nontargets = int((after_spk - first).sum()), int((after_sex - after_spk).sum())
    if not num_targets or not num_nontargets:
        raise DataError(
            "cannot make both target and nontarget trials",
            path=data.path,
            found=f"{num_targets} target and {num_nontargets} nontarget pairs",
            mend="use two speakers or more with two utterances or more",
        )
    if num_trials is None:
        if num_targets + num_nontargets > _MOST:
            raise DataError(
                "too many pairs to list",
                path=data.path,
                found=f"{num_targets + num_nontargets}",
                mend="choose some with --num-trials",
            )
        chosen = [np.arange(num_targets), np.arange(num_nontargets)]
    else:
        half = num_trials // 2
        for name, available in (("target", num_targets), ("nontarget", num_nontargets)):
            if half > available:
                raise DataError(
                    f"not enough {name} pairs",
                    path=data.path,
                    found=f"{available}",
                    expected=f"{half}",
                    mend="lower --num-trials",
                )
        rng = np.random.default_rng(seed)
        chosen = [rng.choice(num_targets, half, replace=False), rng.choice(num_nontargets, half, replace=False)]
    left, right = (
        np.concatenate(sides)
        for sides in zip(
            _decode(chosen[0], first, after_spk),
            _decode(chosen[1], after_spk, after_sex),
            strict=True,
        )
    )
    labels = np.arange(len(left)) < len(chosen[0])
    left, right = order[left], order[right]
    left, right = np.minimum(left, right), np.maximum(left, right)
    rows = np.lexsort((right, left))
    utts = np.array([u.utt for u in utterances], dtype=object)
    return Trials(utts[left[rows]].tolist(), utts[right[rows]].tolist(), labels[rows])


def _block_ends(ids: np.ndarray) -> np.ndarray:
    """For each item of (N,) ids that stand in runs of equal values, the index just after its run."""
    ends = np.append(np.flatnonzero(np.diff(ids)) + 1, len(ids))
    return np.repeat(ends, np.diff(ends, prepend=0))


def _decode(numbers: np.ndarray, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair number (K,) -> (i, j), where utterance i has the partners begin[i] ... end[i] - 1, numbered in turn."""
    total = np.cumsum(end - begin)
    i = np.searchsorted(total, numbers, side="right")
    j = end[i] - (total[i] - numbers)
    return i, j


def make_trials(
    data_dir: str | os.PathLike,
    path: str | os.PathLike,
    *,
    same_sex: bool = False,
    num_trials: int | None = None,
    seed: int = 0,
) -> Trials:
    """Write a Kaldi trial list ``enroll test target|nontarget``; see :func:`draw_trials`."""
    trials = draw_trials(read_data_dir(data_dir), same_sex=same_sex, num_trials=num_trials, seed=seed)
    write_trials(path, trials)
    return trials
