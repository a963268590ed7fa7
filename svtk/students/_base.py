"""What every student offers: projected frames (B, T, H) to L+1 hidden states, and the options that all have."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn

from svtk.onednn import Precision, dtype_of

__all__ = ["BlockStack", "StudentConfig"]


@dataclasses.dataclass(frozen=True)
class StudentConfig:
    """Options of every student: L blocks of width H; a size or a ratio that is not positive is a ValueError."""

    num_layers: int = 5
    hidden_dim: int = 1024
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "dropout":
                if not 0 <= value < 1:
                    raise ValueError("dropout must lie in [0, 1)")
            elif type(value) in (int, float) and value <= 0:
                raise ValueError(f"{field.name} must be positive")


class BlockStack(nn.Module):
    """L blocks, each (B, T, H) to (B, T, H), and a final LayerNorm.

    Args:
        config: depth and width.
        num_frames: T of the windows that the student sees.
        make_block: makes one block, told whether it is the last.

    >>> import torch
    >>> student = BlockStack(StudentConfig(num_layers=2, hidden_dim=64), 75, lambda last: nn.Linear(64, 64))
    >>> [tuple(h.shape) for h in student(torch.zeros(4, 75, 64))]
    [(4, 75, 64), (4, 75, 64), (4, 75, 64)]
    """

    def __init__(self, config: StudentConfig, num_frames: int, make_block: Callable[[bool], nn.Module]):
        super().__init__()
        self.num_frames = num_frames
        layers = config.num_layers
        self.blocks = nn.ModuleList(make_block(index == layers - 1) for index in range(layers))
        self.norm = nn.LayerNorm(config.hidden_dim)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Projected frames (B, T, H) to L+1 hidden states (B, T, H).

        The states are the input, each block's output but the last, and the normed last.
        """
        hidden = [x]
        for block in self.blocks:
            hidden.append(block(hidden[-1]))
        hidden[-1] = self.norm(hidden[-1])
        return hidden

    def fused(self, precision: Precision) -> FusedStack:
        """For inference on CPUs, computing in *precision*; a block may offer ``fused(precision)`` of its own."""
        return FusedStack(self, precision)


class FusedStack(nn.Module):
    """The blocks of a :class:`BlockStack`, each fused if it can be, and its final LayerNorm."""

    def __init__(self, plain: BlockStack, precision: Precision):
        super().__init__()
        self.num_frames, self.dtype = plain.num_frames, dtype_of(precision)
        self.blocks = nn.ModuleList(
            block.fused(precision) if hasattr(block, "fused") else copy.deepcopy(block).to(self.dtype)
            for block in plain.blocks
        )
        self.norm = copy.deepcopy(plain.norm).to(self.dtype)

    @torch.autocast("cpu", enabled=False)
    def forward(self, x: Tensor) -> list[Tensor]:
        """As :meth:`BlockStack.forward`; the hidden states come in *precision*."""
        return BlockStack.forward(self, x.to(self.dtype))
