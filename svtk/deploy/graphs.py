"""Encoder and backend of a model as ONNX graphs, by torch's exporter."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from svtk.data import FRAME
from svtk.data.features import LogMel
from svtk.models.speaker_model import SpeakerModel

__all__ = ["OPSET", "write_graphs"]

#: version of ONNX's operators: the first that has GELU
OPSET = 20


class _GraphLogMel(nn.Module):
    """:class:`svtk.data.features.LogMel` with its Fourier transform as a convolution.

    ONNX has an STFT, but ONNX Runtime's took more time than the rest of a student, and differed by 1e-3; this one is
    as near to the exact spectrum as torch's own.
    """

    def __init__(self, log_mel: LogMel):
        super().__init__()
        self.hop = log_mel.hop
        size = len(log_mel.window)
        bins = size // 2 + 1
        window = log_mel.window.double()
        phase = 2 * math.pi / size * (torch.arange(bins)[:, None] * torch.arange(size) % size)
        self.register_buffer("basis", torch.cat([window * phase.cos(), window * phase.sin()])[:, None].float())
        self.register_buffer("filters", log_mel.filters.T.contiguous())  # (M, bins)

    def forward(self, wav: Tensor) -> Tensor:
        pad = self.basis.shape[2] // 2
        wav = F.pad(wav[:, None], (pad, pad), mode="reflect")
        real, imaginary = F.conv1d(wav, self.basis, stride=self.hop)[..., :-1].square().chunk(2, dim=1)
        log = (self.filters @ (real + imaginary)).clamp(min=1e-10).log10()
        log = torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8.0)
        return (log + 4.0) / 4.0


class _Encoder(nn.Module):
    """wav (B, N) to a tuple, as the exporter wants it."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, wav: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.encoder(wav))


class _Backend(nn.Module):
    """Hidden states [and the wav] one by one, as the exporter wants them."""

    def __init__(self, backend: nn.Module):
        super().__init__()
        self.backend = backend

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.backend.needs_wav:
            return self.backend(inputs[:-1], inputs[-1])
        return self.backend(inputs)


def _with_graph_log_mel(module: nn.Module) -> nn.Module:
    """A copy for the exporter, every log-mel in it replaced."""
    module = copy.deepcopy(module).cpu().eval().requires_grad_(False)
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, LogMel):
                setattr(parent, name, _GraphLogMel(child))
    return module


@contextlib.contextmanager
def _exporting() -> Iterator[None]:
    """No fused attention, which has no ONNX form, and no chatter of the exporter."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    exporters = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in exporters]
    for logger in exporters:
        logger.setLevel(logging.ERROR)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for logger, level in zip(exporters, levels, strict=True):
            logger.setLevel(level)


def write_graphs(model: SpeakerModel, encoder_file: Path, backend_file: Path) -> None:
    """Write the two graphs of a model; any batch size, and for the backend any number of frames.

    ``encoder_file``: ``wav`` (B, N) of one window to ``hidden_0`` ... ``hidden_L`` (B, T, H). ``backend_file``: these,
    (B, T', H), and where the backend hears it ``wav`` (B, N'), to ``embedding`` (B, E).
    """
    frames, states = model.window_frames + 7, model.encoder.num_hidden
    wav = 0.1 * torch.randn(2, model.window_samples + 7 * FRAME)
    hidden = {f"hidden_{i}": torch.randn(2, frames, model.encoder.hidden_dim) for i in range(states)}
    with _exporting():
        encoder = _Encoder(_with_graph_log_mel(model.encoder))
        _write(encoder, {"wav": wav[:, : model.window_samples].contiguous()}, list(hidden), encoder_file, free=(0,))
        inputs = {**hidden, "wav": wav} if model.backend.needs_wav else hidden
        backend = _Backend(_with_graph_log_mel(model.backend))
        _write(backend, inputs, ["embedding"], backend_file, free=(0, 1))


def _write(module: nn.Module, inputs: dict[str, Tensor], outputs: list[str], file: Path, free: Sequence[int]) -> None:
    """Export *module*, the sizes of whose inputs' dimensions *free* are free."""
    shapes = tuple(dict.fromkeys(free, torch.export.Dim.DYNAMIC) for _ in inputs)
    program = torch.onnx.export(
        module,
        tuple(inputs.values()),
        dynamo=True,
        dynamic_shapes=(shapes,) if isinstance(module, _Backend) else shapes,
        input_names=list(inputs),
        output_names=outputs,
        opset_version=OPSET,
        verbose=False,
    )
    graph = program.model_proto
    _leave_weights_unexpanded(graph.graph)
    _name_sizes(graph.graph)
    del graph.metadata_props[:]
    for node in graph.graph.node:  # stack traces of the machine that exported, and half of the file
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.checker.check_model(graph)
    onnx.save(graph, os.fspath(file))


def _leave_weights_unexpanded(graph: onnx.GraphProto) -> None:
    """Matrix products broadcast weights themselves: their copies, one for each of the batch, are left out."""
    weights = {item.name for item in graph.initializer}
    expanded = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Expand" and n.input[0] in weights}
    for node in graph.node:
        if node.op_type == "MatMul":
            node.input[:] = [expanded.get(name, name) for name in node.input]
    used = {name for node in graph.node for name in node.input} | {item.name for item in graph.output}
    kept = [node for node in graph.node if node.op_type != "Expand" or node.output[0] in used]
    del graph.node[:]
    graph.node.extend(kept)


def _name_sizes(graph: onnx.GraphProto) -> None:
    """Free sizes are called batch, frames and samples."""
    names: dict[str, str] = {}
    for item in graph.input:
        sizes = ["batch", "samples" if item.name == "wav" else "frames", "hidden"]
        for size, name in zip(item.type.tensor_type.shape.dim, sizes, strict=False):
            if size.dim_param:
                names.setdefault(size.dim_param, name)
    for item in (*graph.input, *graph.output, *graph.value_info):
        for size in item.type.tensor_type.shape.dim:
            if size.dim_param in names:
                size.dim_param = names[size.dim_param]
