"""A model that ``svtk export`` wrote, run by ONNX Runtime (only here and in ``deploy``) as its MODEL_DIR's equal.

::

    config.yaml     the model's own, as in its MODEL_DIR
    encoder.onnx    wav (B, N) of one window to L+1 hidden states (B, T, H)
    backend.onnx    L+1 hidden states (B, T', H), T' free [and the wav (B, N')], to embeddings (B, E)
    export.json     sizes, opset, precision, versions and the parity that was measured

Windows, covering and crops are those of :class:`svtk.models.speaker_model.SpeakerModel`: only the two networks
inside it are graphs here.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from svtk.config import from_mapping, load_yaml
from svtk.data import FRAME
from svtk.errors import ConfigError, ModelError
from svtk.models.speaker_model import ModelConfig, SpeakerModel, is_exported, load_model

__all__ = [
    "ExportedModel",
    "ExportInfo",
    "embedder_files",
    "open_embedder",
    "open_session",
    "require_onnx",
]

Precision = Literal["float32", "int8"]


@dataclasses.dataclass(frozen=True)
class ExportInfo:
    """What ``export.json`` says.

    Attributes:
        window_samples, window_frames: length of the windows that the encoder takes, and frames T that they give.
        num_hidden, hidden_dim, embedding_dim: L+1, H and E.
        needs_wav: whether the backend also takes the wav.
        precision: of the weights and of the products.
        opset: version of ONNX's operators.
        parity: largest differences from the model's own embeddings, by what was compared.
        details: how it was made: versions, int8 options, sizes in bytes.
    """

    window_samples: int
    window_frames: int
    num_hidden: int
    hidden_dim: int
    embedding_dim: int
    needs_wav: bool
    precision: Precision
    opset: int
    parity: dict
    details: dict
    format: Literal[1] = 1


def embedder_files(directory: str | os.PathLike) -> list[Path]:
    """The files of a MODEL_DIR, or of an exported one, that its embeddings depend on."""
    place = Path(directory)
    if is_exported(place):
        return [place / name for name in ("config.yaml", "export.json", "encoder.onnx", "backend.onnx")]
    return [place / "config.yaml", place / "model.safetensors", *sorted(place.glob("encoder/*.safetensors"))]


def open_embedder(directory: str | os.PathLike, device: str = "cpu", num_threads: int | None = None) -> SpeakerModel:
    """The model of a MODEL_DIR, or one that ``svtk export`` wrote, in evaluation mode.

    Args:
        directory: either.
        device: torch device; an exported model runs on the CPU.
        num_threads: CPU threads of an exported model [torch's].

    Raises:
        ModelError: neither, damaged, another device than an exported model can have, or no onnxruntime.
    """
    if not is_exported(directory):
        return load_model(directory, device)
    if device != "cpu":
        raise ModelError(
            "an exported model runs on the CPU", path=directory, found=f"--device {device}", mend="give its MODEL_DIR"
        )
    return ExportedModel(Path(directory), num_threads)


def require_onnx(
    path: str | os.PathLike | None = None, packages: Sequence[str] = ("onnx", "onnxruntime", "onnxscript")
) -> None:
    """Raise ModelError, with the *path* that needs them, unless *packages* of the extra ``onnx`` are installed."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(f"this needs {', '.join(missing)}", path=path, mend="pip install 'svtk[onnx]'")


def open_session(file: Path, num_threads: int | None = None) -> Any:
    """An onnxruntime session on the CPU.

    Raises:
        ModelError: onnxruntime is not installed, or the graph is missing or damaged.
    """
    require_onnx(file, ["onnxruntime"])
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = num_threads or torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # one would be kept for every length of the backend's input
    try:
        return onnxruntime.InferenceSession(os.fspath(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no other base
        mend = "export the model again"
        raise ModelError(f"cannot open the graph: {str(error).splitlines()[0]}", path=file, mend=mend) from error


class _Graph(nn.Module):
    """A graph as a module: tensors (B, ...) to a list of tensors (B, ...), all float32 on the CPU.

    Dynamic int8 finds one scale for all of a batch: there each row is run by itself, so that what it gives does not
    depend on the others.
    """

    def __init__(self, file: Path, info: ExportInfo, num_threads: int | None):
        super().__init__()
        self.file, self.info = file, info
        self.session = open_session(file, num_threads)
        self.inputs = [item.name for item in self.session.get_inputs()]
        # What asks a model where its parameters are learns that it is on the CPU.
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        if self.info.details.get("quantization") != "dynamic":
            return self._run(*tensors)
        rows = [self._run(*row) for row in zip(*(tensor.split(1) for tensor in tensors), strict=True)]
        return [torch.cat(outputs) for outputs in zip(*rows, strict=True)]

    def _run(self, *tensors: Tensor) -> list[Tensor]:
        feeds = {name: tensor.contiguous().numpy() for name, tensor in zip(self.inputs, tensors, strict=True)}
        try:
            arrays = self.session.run(None, feeds)
        except Exception as error:  # onnxruntime's exceptions share no other base
            what = f"cannot run the graph: {str(error).splitlines()[0]}"
            raise ModelError(what, path=self.file, mend="use the MODEL_DIR that it was made of") from error
        return [torch.from_numpy(array) for array in arrays]


class _Encoder(_Graph):
    """wav (B, N) of one window to L+1 hidden states (B, T, H)."""

    def __init__(self, file: Path, info: ExportInfo, num_threads: int | None):
        super().__init__(file, info, num_threads)
        self.num_hidden, self.hidden_dim = info.num_hidden, info.hidden_dim

    def num_frames(self, num_samples: int) -> int:
        """Frames of 20 ms that *num_samples* samples, at least one window, give."""
        return self.info.window_frames + (num_samples - self.info.window_samples) // FRAME


class _Backend(_Graph):
    """L+1 hidden states (B, T', H) [and their wav (B, N')] to embeddings (B, E)."""

    def __init__(self, file: Path, info: ExportInfo, num_threads: int | None):
        super().__init__(file, info, num_threads)
        self.embedding_dim, self.needs_wav = info.embedding_dim, info.needs_wav

    def forward(self, hidden: Sequence[Tensor], *wav: Tensor) -> Tensor:
        [rows] = super().forward(*hidden, *wav)
        return rows


class ExportedModel(SpeakerModel):
    """Encoder and backend as graphs; embeds as the model that was exported does, and cannot be trained.

    Attributes:
        directory: where it is.
        info: what ``export.json`` says.
    """

    def __init__(self, directory: Path, num_threads: int | None = None):
        info = _read_info(directory)
        file = directory / "config.yaml"
        config = from_mapping(ModelConfig, load_yaml(file), path=file)
        super().__init__(
            config,
            _Encoder(directory / "encoder.onnx", info, num_threads),
            _Backend(directory / "backend.onnx", info, num_threads),
        )
        self.directory, self.info = directory, info
        if self.window_samples != info.window_samples:
            raise ModelError(
                "config.yaml is of another model than export.json",
                path=directory,
                found=f"a window of {self.window_samples} samples",
                expected=str(info.window_samples),
                mend="export the model again",
            )
        self.eval()

    def for_inference(self, precision: str = "float32") -> ExportedModel:
        """Itself; its precision was chosen when it was exported.

        Raises:
            ModelError: another precision is asked for than float32, which means as it is.
        """
        if precision != "float32":
            raise ModelError(
                "the precision of an exported model cannot be changed",
                path=self.directory,
                found=f"--precision {precision} for one in {self.info.precision}",
                mend="give the MODEL_DIR that it was made of",
            )
        return self


def _read_info(directory: Path) -> ExportInfo:
    file, mend = directory / "export.json", "export the model again"
    try:
        mapping = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(mapping, dict):
            raise ValueError("not a mapping")
        return from_mapping(ExportInfo, mapping, path=file)
    except OSError as error:
        raise ModelError(f"cannot read: {error.strerror}", path=file, mend=mend) from error
    except (ValueError, ConfigError) as error:
        raise ModelError(f"damaged: {error}", path=file, mend=mend) from error
