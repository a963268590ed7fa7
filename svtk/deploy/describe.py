"""Parameters and multiply-accumulates (MACs) of a model, part by part, counted by torch's flop counter."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from svtk.config import from_mapping, load_config
from svtk.data import SAMPLE_RATE
from svtk.errors import ConfigError
from svtk.models.speaker_model import SpeakerModel, StudentSpec, build_model, load_model

__all__ = ["count_macs", "describe", "format_description"]


def count_macs(module: nn.Module, *inputs: Any) -> int:
    """MACs of one forward pass: every matrix product, convolution and attention product, nothing else.

    Additions, norms and activations are not counted. Attention's own products are (the paper's 1.25 GMACs
    for a Transformer layer leave them out; with them it is 1.295), so fused attention kernels, which the
    counter cannot see, are switched off for the pass.
    """
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            module.eval()(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return counter.get_total_flops() // 2


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _blocks(student: nn.Module) -> Sequence[nn.Module]:
    for child in student.children():
        if isinstance(child, nn.ModuleList):
            return list(child)
    return []


def describe(source: str | os.PathLike, duration: float = 3.0) -> dict[str, Any]:
    """Count a MODEL_DIR, or the student of a distillation YAML.

    Args:
        source: MODEL_DIR or YAML file.
        duration: seconds of audio the MACs are counted for; embedded by windows as extract-embeddings does.

    Returns:
        ``{"parameters", "macs", "duration", "window", "parts": [{"name", "parameters", "macs"}, ...]}``;
        the parts are those of one window, ``macs`` is the whole *duration*.
    """
    if Path(source).is_dir():
        model = load_model(source)
    else:
        mapping = load_config(source)
        if "student" not in mapping:
            raise ConfigError("no student here", path=source, expected="a MODEL_DIR or a configuration of svtk distill")
        fields = {field.name for field in dataclasses.fields(StudentSpec)}
        spec = from_mapping(StudentSpec, {key: mapping[key] for key in mapping if key in fields}, path=source)
        model = build_model(spec.model_config(source), path=source).eval()
    return _describe(model, duration)


def _describe(model: SpeakerModel, duration: float) -> dict[str, Any]:
    wav = torch.zeros(1, model.window_samples)
    encoder = model.encoder
    parts: list[dict[str, Any]] = []

    def part(name: str, module: nn.Module, *inputs: Any) -> None:
        parts.append({"name": name, "parameters": _parameters(module), "macs": count_macs(module, *inputs)})

    if model.config.kind == "student":
        part("frontend", encoder.frontend, wav)
        frames = torch.zeros(1, model.window_frames, encoder.hidden_dim)
        for index, block in enumerate(_blocks(encoder.student), 1):
            part(f"block {index}", block, frames)
    else:
        part("teacher", encoder, wav)
    with torch.no_grad():
        hidden = encoder(wav)
    part("backend", model.backend, hidden, *([wav] if model.backend.needs_wav else []))
    samples = max(round(duration * SAMPLE_RATE), model.window_samples)
    total = count_macs(_Cover(model), torch.zeros(samples))
    return {
        "parameters": _parameters(model),
        "macs": total,
        "duration": samples / SAMPLE_RATE,
        "window": model.config.window,
        "parts": parts,
    }


class _Cover(nn.Module):
    """Embed one utterance as extract-embeddings does."""

    def __init__(self, model: SpeakerModel):
        super().__init__()
        self.model = model

    def forward(self, wav: torch.Tensor) -> torch.Tensor:
        return self.model.embed_cover([wav])


def format_description(description: dict[str, Any]) -> str:
    """The counts as an aligned table; parameters in millions, MACs in billions."""
    rows = [("part", "parameters (M)", f"GMACs per {description['window']:g} s")]
    for part in description["parts"]:
        rows.append((part["name"], f"{part['parameters'] / 1e6:.3f}", f"{part['macs'] / 1e9:.4f}"))
    rows.append(
        (
            f"all, {description['duration']:g} s",
            f"{description['parameters'] / 1e6:.3f}",
            f"{description['macs'] / 1e9:.4f}",
        )
    )
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join(f"{name:<{widths[0]}}  {size:>{widths[1]}}  {macs:>{widths[2]}}" for name, size, macs in rows)
