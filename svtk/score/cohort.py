"""Statistics of an utterance's cosine scores against a cohort: exact, once per utterance, in tiles.

Of the *n* highest scores: products of a tile of utterances with a tile of the cohort (float32, BLAS) are
compared with a floor that few of them exceed; only the survivors are partially sorted. The floor is the n-th
best so far or, on the first tile, guessed from a sample; a row for which the guess was too high is selected
from in full. Of all scores: with the mean c and the covariance C of the cohort, the mean of an utterance's
scores is e'c and their variance e'Ce, so that no score needs to be computed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from svtk.errors import DataError
from svtk.progress import progress
from svtk.score.blocks import in_order

__all__ = ["Cohort", "tile_width", "top_scores"]

_UTTS, _COHORT = 256, 8192  # rows and columns of a tile of products: 8 MiB a thread; _UTTS is a multiple of _CHUNK
_CHUNK = 16  # rows selected from at a time: their temporaries are too small for malloc to map them anew each time
_SAMPLE = 768  # products of a row from which the floor is guessed
_SPREAD = 4.0  # standard deviations by which the guess is kept low
_QUIET = 100  # tiles, a second or two, that are worth no progress
_SMALLEST_STD = 1e-6  # of cosines in float32; less is no spread


class Cohort:
    """A cohort that gives mean and population standard deviation of an utterance's scores against it.

    Args:
        rows: embeddings (C, D).
        top_n: of how many highest scores; None: of all.
        mean: (D,), subtracted from all embeddings before their length is made 1.
        name: the cohort's, for messages.
        keys: (C), name the rows in messages.

    Raises:
        DataError: fewer than *top_n* rows, or one that is zero, NaN or infinite.
    """

    def __init__(
        self,
        rows: np.ndarray,
        top_n: int | None,
        *,
        mean: np.ndarray | None = None,
        name: str = "the cohort",
        keys: Sequence[str] | None = None,
    ):
        least = 2 if top_n is None else top_n
        if len(rows) < least:
            mend = "give a larger cohort" + ("" if top_n is None else " or a smaller --top-n")
            raise DataError("the cohort is too small", path=name, found=str(len(rows)), expected=f"{least}", mend=mend)
        self.dim, self._top_n, self._mean, self._name = rows.shape[1], top_n, mean, name
        unit = np.empty(rows.shape, dtype=np.float32 if top_n is not None else np.float64)
        for start in range(0, len(rows), _COHORT):
            tile = slice(start, start + _COHORT)
            unit[tile] = _unit_length(rows[tile], mean, None if keys is None else keys[tile], name)
        if top_n is None:
            self._center = unit.mean(axis=0)  # (D,)
            unit -= self._center
            self._covariance = unit.T @ unit / len(unit)  # (D, D)
        else:  # in random order, so that a range of columns is a sample
            np.random.default_rng(0).shuffle(unit)
            self._rows = unit

    def statistics(
        self,
        rows: np.ndarray,
        keys: Sequence[str] | None = None,
        name: str = "embeddings",
        places: np.ndarray | None = None,
    ) -> np.ndarray:
        """Mean and standard deviation of each row's scores: (N, D) → float64 (N, 2).

        BLAS may round a product otherwise in another place of a tile, so that every row has one place, whatever
        other rows there are: its statistics do not depend on them, nor on our threads. They may, in their last bit,
        on the number of BLAS's, which the verb sets to one: every thread of ours multiplies and selects by itself,
        where BLAS's own would wait for work in a loop and take the processors from those that select.

        Args:
            rows: embeddings (N, D).
            keys: (N), name the rows in messages.
            name: the table's, for messages.
            places: where the rows stand in their table, integers (N,); None: from 0 on.

        Raises:
            DataError: a row that is zero, NaN or infinite, or whose scores have no spread.
        """
        room = threading.local()

        def of_tile(chosen: np.ndarray, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            names = None if keys is None else [keys[row] for row in chosen]
            unit = np.zeros((_UTTS, self.dim), dtype=np.float64 if self._top_n is None else np.float32)
            unit[slots] = _unit_length(rows[chosen], self._mean, names, name)
            if self._top_n is None:
                variance = np.maximum((unit @ self._covariance * unit).sum(axis=1), 0)
                return chosen, np.stack([unit @ self._center, np.sqrt(variance)], axis=1)[slots]
            if not hasattr(room, "products"):
                width = min(tile_width(self._top_n), len(self._rows))
                room.products = np.empty(_UTTS * width, dtype=np.float32)
            best = top_scores(unit, self._rows, self._top_n, room.products)[slots].astype(np.float64)
            return chosen, np.stack([best.mean(axis=1), best.std(axis=1)], axis=1)

        result = np.empty((len(rows), 2))
        tiles = _tiles(np.arange(len(rows)) if places is None else places)
        done = in_order(of_tile, tiles)
        if len(tiles) >= _QUIET:
            done = progress(done, "cohort statistics", total=len(tiles), unit="tile")
        for chosen, values in done:
            result[chosen] = values
        if (flat := np.flatnonzero(result[:, 1] < _SMALLEST_STD)).size:
            who = f"embedding {flat[0] + 1}" if keys is None else repr(keys[flat[0]])
            raise DataError(
                f"the scores of {who} against the cohort are all alike, and cannot be normalised by their deviation",
                path=self._name,
                mend="give a cohort of different speakers",
            )
        return result


def _tiles(places: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each tile: which of the rows, and in which slots: their *places* in the table modulo the tile's height."""
    slots = places % _UTTS
    order = np.argsort(slots, kind="stable")
    sorted_slots = slots[order]
    tile = np.arange(len(order)) - np.searchsorted(sorted_slots, sorted_slots)  # how many had the slot before
    order = order[np.argsort(tile, kind="stable")]
    return [(chosen, slots[chosen]) for chosen in np.split(order, np.cumsum(np.bincount(tile))[:-1]) if len(chosen)]


def _unit_length(rows: np.ndarray, mean: np.ndarray | None, keys: Sequence[str] | None, name: str) -> np.ndarray:
    rows = rows.astype(np.float64)
    if mean is not None:
        rows -= mean
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    sound = np.isfinite(norms) & (norms > 0)
    if not sound.all():
        row = int(np.argmin(sound))
        who = f"embedding {row + 1}" if keys is None else f"embedding {keys[row]!r}"
        after = "" if mean is None else " after the mean was subtracted"
        raise DataError(f"{who} is zero, NaN or infinite{after}", path=name, mend="extract it again or leave it out")
    return rows / norms[:, None]


def tile_width(top_n: int) -> int:
    """How many of the cohort are multiplied at a time."""
    return max(_COHORT, 2 * top_n)


def top_scores(rows: np.ndarray, cohort: np.ndarray, top_n: int, buffer: np.ndarray) -> np.ndarray:
    """The *top_n* highest inner products of each row with the cohort, ascending.

    Args:
        rows: float32 (U, D).
        cohort: float32 (C, D) in random order, C >= top_n.
        buffer: float32, room for the products of a tile: U * min(C, tile_width(top_n)).

    Returns:
        float32 (U, top_n).
    """
    width, best = tile_width(top_n), None
    for start in range(0, len(cohort), width):
        tile = cohort[start : start + width]
        products = buffer[: len(rows) * len(tile)].reshape(len(rows), len(tile))
        np.matmul(rows, tile.T, out=products)
        chunks = [slice(first, first + _CHUNK) for first in range(0, len(rows), _CHUNK)]
        best = np.concatenate([_select(products[c], None if best is None else best[c], top_n) for c in chunks])
    return np.sort(best, axis=1)


def _select(products: np.ndarray, best: np.ndarray | None, top_n: int) -> np.ndarray:
    """The *top_n* highest of each row of products (R, C) and, if given, of the best so far (R, top_n)."""
    columns = products.shape[1]
    if best is None and (columns < 4 * _SAMPLE or 3 * top_n > columns):
        return _highest(products.copy(), top_n)
    floor = _guess_floor(products, top_n) if best is None else best.min(axis=1, keepdims=True)  # (R, 1)
    keep = products > floor
    counts = keep.view(np.uint8).sum(axis=1, dtype=np.int32)
    held = 0 if best is None else top_n
    widest = max(int(counts.max()), top_n - held)
    candidates = np.full((len(products), widest + held), -np.inf, dtype=np.float32)
    survivors = products.ravel().take(np.flatnonzero(keep), mode="clip")  # as products[keep], in half its time
    candidates[:, :widest][np.arange(widest) < counts[:, None]] = survivors
    if best is not None:
        candidates[:, widest:] = best
        return _highest(candidates, top_n)
    result = _highest(candidates, top_n)
    if (short := counts < top_n).any():  # the guess was too high
        result[short] = _highest(products[short], top_n)
    return result


def _highest(values: np.ndarray, top_n: int) -> np.ndarray:
    """The *top_n* highest of each row (R, C >= top_n), in no order; reorders *values*."""
    values.partition(values.shape[1] - top_n, axis=1)
    return values[:, values.shape[1] - top_n :]


def _guess_floor(products: np.ndarray, top_n: int) -> np.ndarray:
    """A value (R, 1) that more than *top_n* products of each row (R, C) exceed, almost surely."""
    share = top_n / products.shape[1]
    rank = int(np.ceil(_SAMPLE * share + _SPREAD * np.sqrt(_SAMPLE * share * (1 - share)))) + 1
    sample = products[:, :_SAMPLE].copy()
    sample.partition(_SAMPLE - rank, axis=1)
    return sample[:, _SAMPLE - rank, None]
