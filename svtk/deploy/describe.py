"""Parameters, multiply-accumulates (MACs) and activations of a model, part by part, counted by torch's flop counter."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from svtk.data import SAMPLE_RATE
from svtk.models.speaker_model import SpeakerModel

__all__ = ["Cost", "count", "count_macs", "describe", "format_description"]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a module costs in one forward pass.

    Attributes:
        parameters: number of weights.
        macs: multiply-accumulates of every matrix product, convolution and attention product, nothing else.
        activations: numbers that these products and convolutions put out (Radosavovic et al., CVPR 2020), which tell
            of memory traffic, and so of time, what MACs do not.
    """

    parameters: int = 0
    macs: int = 0
    activations: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))

    def __sub__(self, other: Cost) -> Cost:
        return Cost(*(a - b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))


class _ActivationCounter(TorchDispatchMode):
    """Counts the numbers that come out of the operations that the flop counter counts."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += (out if isinstance(out, Tensor) else out[0]).numel()
        return out


@contextlib.contextmanager
def _countable(module: nn.Module) -> Iterator[None]:
    """Evaluation, no fused attention kernels, which the counters cannot see, and no gradients.

    Weights that need gradients would bring the flop counter down in a parametrised layer in inference mode.
    """
    fast_path = torch.backends.mha.get_fastpath_enabled()
    learned = [p for p in module.parameters() if p.requires_grad]
    torch.backends.mha.set_fastpath_enabled(False)
    module.eval().requires_grad_(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for parameter in learned:
            parameter.requires_grad_(True)


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def count(module: nn.Module, *inputs: Any) -> Cost:
    """The cost of one forward pass in evaluation mode; weights that several inner modules share count once.

    Additions, norms and activation functions cost nothing here. Attention's own products do (the paper's 1.25 GMACs
    for a Transformer layer leave them out; with them it is 1.295).
    """
    # The flop counter comes last: it takes composite operations apart before the other one sees them.
    with _countable(module), _ActivationCounter() as activations, FlopCounterMode(display=False) as flops:
        module(*inputs)
    return Cost(_parameters(module), flops.get_total_flops() // 2, activations.total)


def count_macs(module: nn.Module, *inputs: Any) -> int:
    """The MACs of :func:`count`."""
    return count(module, *inputs).macs


def describe(model: SpeakerModel, duration: float = 3.0) -> dict[str, Any]:
    """Count a model.

    Args:
        model: student or teacher with its backend; it is left in evaluation mode.
        duration: seconds of audio that the MACs in all are counted for; embedded by windows as extract-embeddings does.

    Returns:
        ``{"parameters", "macs", "activations", "duration", "window", "parts": [{"name", "parameters", "macs",
        "activations", "parameters_share", "macs_share"}, ...]}``. The parts, and ``activations``, are those of one
        window; ``macs`` is the whole *duration*. The parts add up to the whole of a window.
    """
    samples = max(round(duration * SAMPLE_RATE), model.window_samples)
    with FakeTensorMode(allow_non_fake_inputs=True):  # shapes alone: nothing is computed
        parts = list(_parts(model))
        all_macs = count_macs(_Cover(model), torch.zeros(samples))
    parameters, macs = _parameters(model), sum(cost.macs for _, cost in parts)
    return {
        "parameters": parameters,
        "macs": all_macs,
        "activations": sum(cost.activations for _, cost in parts),
        "duration": samples / SAMPLE_RATE,
        "window": model.config.window,
        "parts": [
            {
                "name": name,
                **dataclasses.asdict(cost),
                "parameters_share": cost.parameters / parameters,
                "macs_share": cost.macs / macs,
            }
            for name, cost in parts
        ],
    }


def _parts(model: SpeakerModel) -> Iterator[tuple[str, Cost]]:
    encoder, wav = model.encoder, torch.zeros(1, model.window_samples)
    with torch.no_grad():
        hidden = encoder.eval()(wav)
    if model.config.kind == "student":
        norm_and_projection = [
            getattr(encoder.frontend, name) for name in ("norm", "projection") if hasattr(encoder.frontend, name)
        ]
        [projection], convolutions = _split(encoder.frontend, wav, [norm_and_projection])
        yield "frontend", convolutions
        yield "projection", projection
        blocks, rest = _split(encoder.student, hidden[0], [[block] for block in _blocks(encoder.student)])
        for index, block in enumerate(blocks, 1):
            yield f"block {index}", block
        yield ("final norm" if blocks else "student"), rest
    else:
        yield "teacher", count(encoder, wav)
    yield "backend", count(model.backend, hidden, *([wav] if model.backend.needs_wav else []))


def _blocks(student: nn.Module) -> Sequence[nn.Module]:
    for child in student.children():
        if isinstance(child, nn.ModuleList):
            return list(child)
    return []


def _split(module: nn.Module, x: Tensor, groups: Sequence[Sequence[nn.Module]]) -> tuple[list[Cost], Cost]:
    """The cost of each group of inner modules, on what they get when *module* gets *x*, and of what is left."""
    inputs: dict[nn.Module, tuple] = {}
    hooks = [
        inner.register_forward_pre_hook(lambda inner, args: inputs.update({inner: args}))
        for group in groups
        for inner in group
    ]
    whole = count(module, x)
    for hook in hooks:
        hook.remove()
    costs = [sum((count(inner, *inputs[inner]) for inner in group), Cost()) for group in groups]
    return costs, whole - sum(costs, Cost())


class _Cover(nn.Module):
    """Embed one utterance as extract-embeddings does."""

    def __init__(self, model: SpeakerModel):
        super().__init__()
        self.model = model

    def forward(self, wav: Tensor) -> Tensor:
        return self.model.embed_cover([wav])


def format_description(description: dict[str, Any]) -> str:
    """The counts as an aligned table: parameters and activations in millions, MACs in billions, shares in percent."""
    window, parts = description["window"], description["parts"]
    rows = [("part", "parameters (M)", "%", f"GMACs per {window:g} s", "%", "activations (M)")]
    for part in parts:
        rows.append(
            (
                part["name"],
                f"{part['parameters'] / 1e6:.3f}",
                f"{100 * part['parameters_share']:.1f}",
                f"{part['macs'] / 1e9:.4f}",
                f"{100 * part['macs_share']:.1f}",
                f"{part['activations'] / 1e6:.2f}",
            )
        )
    parameters, activations = f"{description['parameters'] / 1e6:.3f}", f"{description['activations'] / 1e6:.2f}"
    one = sum(part["macs"] for part in parts)
    rows.append((f"all, {window:g} s", parameters, "100.0", f"{one / 1e9:.4f}", "100.0", activations))
    if description["macs"] != one:
        rows.append((f"all, {description['duration']:g} s", parameters, "", f"{description['macs'] / 1e9:.4f}", "", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{name:<{widths[0]}}  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        for name, *cells in rows
    )
