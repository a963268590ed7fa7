"""Graphs of 8-bit integers from graphs of float32, by ONNX Runtime's own tools.

``dynamic``: weights of linear layers and matrix products; the scales of activations are found as they come.
Convolutions stay as they are: with their dynamic form the models took 1.4 times as long as in float32.
A scale is found over a whole batch, so :mod:`svtk.models.exported` runs such graphs row by row.

``static``: convolutions too, with scales found on calibration data, weights by channel.

Neither touches what hears the wav, the first convolution or the log-mel: eight bits cannot hold its dynamic range
(with the mel filters quantised, the embeddings' mean cosine to the float model's was 0.1, without 0.9998).
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

__all__ = ["Quantization", "quantize"]

Quantization = Literal["dynamic", "static"]


class _Feeds(CalibrationDataReader):
    def __init__(self, feeds: Iterable[dict[str, np.ndarray]]):
        self.feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


def quantize(source: Path, target: Path, how: Quantization, feeds: Sequence[dict[str, np.ndarray]] = ()) -> None:
    """Write the graph *target* from *source*; *feeds* are inputs by name, for ``static``."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # the tools log to the root, and advise what is done here
    try:
        with tempfile.TemporaryDirectory(dir=target.parent) as place:
            prepared = os.path.join(place, "prepared.onnx")
            quant_pre_process(os.fspath(source), prepared, skip_symbolic_shape=True)
            untouched = _hearing_wav(onnx.load(prepared).graph)
            if how == "dynamic":
                quantize_dynamic(prepared, target, op_types_to_quantize=["MatMul", "Gemm"], nodes_to_exclude=untouched)
            else:
                quantize_static(
                    prepared,
                    target,
                    _Feeds(feeds),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=["MatMul", "Gemm", "Conv"],
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    nodes_to_exclude=untouched,
                )
    finally:
        root.setLevel(level)


def _hearing_wav(graph: onnx.GraphProto) -> list[str]:
    """The convolution nearest to the input ``wav``, and all products of a log-mel, by their nodes' names."""
    if "wav" not in {item.name for item in graph.input}:
        return []
    products = [node for node in graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    first = next((node for node in products if node.op_type == "Conv"), None)
    return [node.name for node in products if node is first or any(".log_mel." in name for name in node.input)]
