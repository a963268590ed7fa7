"""Convolutions and linear layers for inference on CPUs, with oneDNN's fused epilogues.

All activations are (B, T, C), which oneDNN takes as channels-last: nothing is transposed, and what follows a product
(bias, GELU, a residual sum) happens while its output is still in cache. The operators are those that torch.compile
calls; weights are reordered once for a length. No gradients.

They are private to torch, so they are tried before they are used (:func:`available`); without them models stay as they
are.
"""

from __future__ import annotations

import functools
import logging
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["FusedConv", "Precision", "available", "dtype_of"]

log = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16"]
_TOLERANCES = {"float32": 1e-4, "bfloat16": 0.25}  # of sums up to about 10


def dtype_of(precision: Precision) -> torch.dtype:
    """The dtype of weights and activations in a *precision*."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]


@functools.cache
def available(precision: Precision = "float32") -> bool:
    """Whether this torch has the fused operators, and on this processor they give the right results in a *precision*.

    The log says once where it is not so.
    """
    try:
        error = _error(precision)
    except (AttributeError, RuntimeError, TypeError) as failure:  # no such operator, another signature, no such CPU
        reason = str(failure).splitlines()[0] if str(failure) else type(failure).__name__
    else:
        if error < _TOLERANCES[precision]:
            return True
        reason = f"a convolution was wrong by {error:.1e}"
    log.warning("no fused operators of oneDNN in %s: models run unfused, and slower (%s)", precision, reason)
    return False


@torch.inference_mode()
@torch.autocast("cpu", enabled=False)
def _error(precision: Precision) -> float:
    """The largest error of one fused convolution with a GELU and one with a residual; not a number counts as one."""
    dtype = dtype_of(precision)
    weight = torch.linspace(-1, 1, 16 * 4 * 3).view(16, 4, 3).sin()
    bias, x = torch.linspace(-1, 1, 16), torch.linspace(-2, 2, 2 * 9 * 8).view(2, 9, 8).cos()
    plain = nn.functional.conv1d(x.transpose(1, 2), weight, bias, padding=1, groups=2).transpose(1, 2)
    activated, added = (FusedConv(weight, bias, precision, padding=1, groups=2, act=act) for act in ("gelu", "none"))
    errors = (
        activated(x.to(dtype)) - nn.functional.gelu(plain),
        added(x.to(dtype), plain.to(dtype).contiguous()) - 2 * plain,
    )
    return max(float(error.abs().max().nan_to_num(torch.inf)) for error in errors)


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
