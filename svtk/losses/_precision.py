"""Losses are computed in at least float32, whatever precision the model runs in."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["at_least_float32"]


def at_least_float32(x: Tensor) -> Tensor:
    """*x* itself in float32 or float64, else in float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
