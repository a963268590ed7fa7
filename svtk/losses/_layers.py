"""Which hidden state of the teacher each of the student's is held against, and the bridge between two widths."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from svtk.errors import ConfigError

__all__ = ["layer_of", "projection", "spread", "teacher_layer_of_each_block"]


def layer_of(key: str, layer: int, num_hidden: int, mend: str | None = None) -> int:
    """*layer* counted from 0, where negative ones count from the last.

    Raises:
        ConfigError: there is no such layer among *num_hidden* hidden states.
    """
    if not -num_hidden <= layer < num_hidden:
        raise ConfigError(
            f"no such layer in {key!r}", found=str(layer), expected=f"{-num_hidden} ... {num_hidden - 1}", mend=mend
        )
    return layer % num_hidden


def spread(count: int, num_hidden: int) -> list[int]:
    """*count* layers at even distances up to the last of *num_hidden* hidden states, the first not among them.

    >>> spread(3, 25)
    [8, 16, 24]
    """
    last = num_hidden - 1
    return [(2 * i * last + count) // (2 * count) for i in range(1, count + 1)]


def teacher_layer_of_each_block(
    key: str, layers: Sequence[int] | None, num_student_hidden: int, num_teacher_hidden: int
) -> list[int]:
    """The teacher's layer for each of the student's blocks 1 ... L, as *layers* say; None spreads them evenly.

    Args:
        key: name of the option, for messages.
        layers: the option: one layer for each block, or None.
        num_student_hidden: L + 1 hidden states, the projected features and L blocks.
        num_teacher_hidden: the teacher's.

    Raises:
        ConfigError: another number of layers than blocks, or a layer that the teacher does not have.
    """
    num_blocks = num_student_hidden - 1
    if layers is None:
        return spread(num_blocks, num_teacher_hidden)
    if len(layers) != num_blocks:
        raise ConfigError(
            f"{key!r} does not fit the student",
            found=f"{len(layers)} layer(s)",
            expected=f"one for each of its {num_blocks} block(s)",
            mend="leave it out to spread them evenly",
        )
    return [layer_of(key, layer, num_teacher_hidden) for layer in layers]


def projection(student_dim: int, teacher_dim: int) -> nn.Module:
    """A learned projection that joins unequal widths; equal ones need none."""
    return nn.Identity() if student_dim == teacher_dim else nn.Linear(student_dim, teacher_dim)
