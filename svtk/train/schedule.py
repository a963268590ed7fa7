"""The optimiser of a phase, and its learning rate at every step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from svtk.train.options import TrainOptions
from svtk.train.state import TrainState

__all__ = ["learning_rate", "make_optimizer"]


def make_optimizer(parameters: Iterable[nn.Parameter], options: TrainOptions, *, sgd: bool, fused: bool) -> Optimizer:
    """AdamW, or the SGD of a second phase, for those of *parameters* that learn; *fused* on a GPU.

    It stays so when it loads the state of one that was not: a run may go on on another device.
    """
    learned = [parameter for parameter in parameters if parameter.requires_grad]
    decay = options.weight_decay
    if sgd:
        optimizer = torch.optim.SGD(
            learned, lr=options.sgd.lr, momentum=options.sgd.momentum, weight_decay=decay, fused=fused
        )
    else:
        optimizer = torch.optim.AdamW(learned, lr=options.lr, weight_decay=decay, fused=fused)
    optimizer.register_load_state_dict_pre_hook(partial(_keep_fused, fused))
    return optimizer


def _keep_fused(fused: bool, _: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "param_groups": [{**group, "fused": fused} for group in state["param_groups"]]}


def learning_rate(options: TrainOptions, state: TrainState, steps_per_epoch: int, epoch: int, step: int) -> float:
    """Rate of a step (counted from 1) of an epoch (counted from 1) of the phase that *state* is in."""
    begin, end, rate = state.phase(options)
    done = epoch - 1 + (step - 1) / steps_per_epoch
    rate *= state.lr_scale
    if options.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, (done - begin) / (end - begin))))
    if done < options.warmup_epochs:
        rate *= (done * steps_per_epoch + 1) / (options.warmup_epochs * steps_per_epoch)
    return rate
