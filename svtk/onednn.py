"""Convolutions and linear layers for inference on CPUs, with oneDNN's fused epilogues.

All activations are (B, T, C), which oneDNN takes as channels-last: nothing is transposed, and what follows a product
(bias, GELU, a residual sum) happens while its output is still in cache. The operators are those that torch.compile
calls; weights are reordered once for a length. No gradients.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["FusedConv", "Precision", "available", "dtype_of"]

Precision = Literal["float32", "bfloat16"]


def dtype_of(precision: Precision) -> torch.dtype:
    """The dtype of weights and activations in a *precision*."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]


def available() -> bool:
    """Whether this torch has the fused operators."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


class FusedConv(nn.Module):
    """act(conv(x) + bias), or conv(x) + bias + residual; (B, T, C) to (B, T', O).

    Args:
        weight: (O, C / groups, K), as a Conv1d has it; K = 1 is a linear layer per group.
        bias: (O,) or None.
        precision: of weights, input and output.
        stride, padding, dilation, groups: as a Conv1d's.
        act: what follows, where no residual is added.

    >>> conv = nn.Conv1d(32, 64, 3, padding=1)
    >>> x = torch.randn(2, 10, 32)
    >>> fused = FusedConv(conv.weight, conv.bias, padding=1)
    >>> torch.allclose(fused(x), conv(x.transpose(1, 2)).transpose(1, 2), atol=1e-5)
    True
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        precision: Precision = "float32",
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        act: Literal["none", "gelu", "relu"] = "none",
    ):
        super().__init__()
        dtype = dtype_of(precision)
        self.geometry = [0, padding], [1, stride], [1, dilation], groups
        self.act = act
        self.bias = None if bias is None else bias.detach().to(dtype)
        self.weight = weight.detach().to(dtype)[:, :, None].contiguous()  # (O, C / groups, 1, K)
        self._packed: tuple[int, Tensor | None] = 0, None

    def _weight_for(self, x: Tensor) -> Tensor:
        """The weight as oneDNN wants it for T frames; in another T's order it would be reordered at every call."""
        frames, weight = self._packed
        if frames != x.shape[1]:
            size = [1, x.shape[2], 1, x.shape[1]]
            weight = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *self.geometry, size)
            self._packed = x.shape[1], weight
        return weight

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(B, T, C), contiguous, to (B, T', O); *residual*, (B, T', O), is added where given."""
        weight, fused = self._weight_for(x), torch.ops.mkldnn._convolution_pointwise
        if residual is None:
            algorithm = "none" if self.act == "gelu" else ""
            out = fused(_image(x), weight, self.bias, *self.geometry, self.act, [], algorithm)
        else:
            other = _image(residual)
            out = fused(_image(x), other, weight, self.bias, *self.geometry, "add", None, None, [], None)
        return out.squeeze(2).transpose(1, 2)


def _image(x: Tensor) -> Tensor:
    """(B, T, C) as an image (B, C, 1, T) in the channels-last layout; a view."""
    return x.transpose(1, 2).unsqueeze(2)
