"""A whole speaker model: encoder (student or teacher), backend, window; and its MODEL_DIR on disk.

A MODEL_DIR holds ``config.yaml`` (what the model is) and ``model.safetensors`` (its weights); a teacher's
encoder stays where it was loaded from, or in ``encoder/`` when it was trained here. Loading never runs
code from the directory.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from svtk import onednn
from svtk.config import from_mapping, load_yaml, save_yaml
from svtk.data import FRAME, SAMPLE_RATE
from svtk.errors import ConfigError, ModelError
from svtk.onednn import Precision
from svtk.registry import configure
from svtk.weights import save_tensors

__all__ = [
    "ModelConfig",
    "Precision",
    "SpeakerModel",
    "StudentEncoder",
    "StudentSpec",
    "build_model",
    "is_exported",
    "load_model",
    "located",
    "save_model",
]


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What ``config.yaml`` of a MODEL_DIR says.

    ``window`` is the length in seconds of the windows that the encoder sees; ``frontend`` and ``student``
    belong to a student, ``teacher`` to a teacher.
    """

    kind: Literal["student", "teacher"]
    window: float
    backend: dict
    frontend: dict | None = None
    student: dict | None = None
    teacher: dict | None = None
    format: Literal[1] = 1

    def __post_init__(self) -> None:
        needed = ("frontend", "student") if self.kind == "student" else ("teacher",)
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"a {self.kind} needs {name!r}")
        if self.window <= 0:
            raise ValueError("window must be positive")


@dataclasses.dataclass(frozen=True)
class StudentSpec:
    """What a distillation configuration says of the model; the defaults are the paper's.

    ``frontend``, ``student`` and ``backend`` are components, ``{name: ..., option: ...}``; a crop, and a
    window of the model, lasts ``crop_duration`` seconds.
    """

    crop_duration: float = 3.0
    frontend: dict = dataclasses.field(default_factory=lambda: {"name": "waveform_conv"})
    student: dict = dataclasses.field(default_factory=lambda: {"name": "sv_mixer"})
    backend: dict = dataclasses.field(default_factory=lambda: {"name": "ecapa_tdnn"})

    def model_config(self, path: Any = None) -> ModelConfig:
        """The student's ``config.yaml``, every default filled in."""
        return ModelConfig(
            kind="student",
            window=self.crop_duration,
            frontend=configure("frontends", self.frontend, "frontend", path).spec(),
            student=configure("students", self.student, "student", path).spec(),
            backend=configure("backends", self.backend, "backend", path).spec(),
        )


class StudentEncoder(nn.Module):
    """Frontend and student: wav (B, N) of one window to L+1 hidden states (B, T, H)."""

    def __init__(self, frontend: nn.Module, student: nn.Module, hidden_dim: int, num_hidden: int):
        super().__init__()
        self.frontend, self.student = frontend, student
        self.hidden_dim, self.num_hidden = hidden_dim, num_hidden

    def num_frames(self, num_samples: int) -> int:
        """Frames of 20 ms that *num_samples* samples give."""
        return self.frontend.num_frames(num_samples)

    def forward(self, wav: Tensor) -> list[Tensor]:
        return self.student(self.frontend(wav))


class SpeakerModel(nn.Module):
    """Encoder and backend; ``config`` says how to build it again.

    Attributes:
        window_samples: samples of the window that :attr:`encoder` sees.
        window_frames: frames T of that window.
    """

    def __init__(self, config: ModelConfig, encoder: nn.Module, backend: nn.Module):
        super().__init__()
        self.config = config
        self.encoder, self.backend = encoder, backend
        self.window_samples = round(config.window * SAMPLE_RATE)
        self.window_frames = encoder.num_frames(self.window_samples)

        self._encoder_frozen = False
        self._precision: Precision = "float32"

    @property
    def embedding_dim(self) -> int:
        return self.backend.embedding_dim

    def freeze_encoder(self) -> None:
        """Train the backend alone: the encoder has no gradients and stays in evaluation mode."""
        self._encoder_frozen = True
        self.encoder.requires_grad_(False)
        self.encoder.eval()

    def train(self, mode: bool = True) -> SpeakerModel:
        super().train(mode)
        if self._encoder_frozen:
            self.encoder.eval()
        return self

    def for_inference(self, precision: Precision = "float32") -> SpeakerModel:
        """A copy for inference alone, as fast as it can be made; this model stays as it is.

        Args:
            precision: ``float32`` gives this model's results to 1e-5; with ``bfloat16`` encoder and backend compute
                in mixed precision (hidden states and embeddings still come out as float32).

        On a CPU where :func:`svtk.onednn.available`, parts that offer ``fused(precision)`` are replaced by what it
        makes. The copy cannot be trained, saved or pickled.
        """
        fast = copy.deepcopy(self).eval().requires_grad_(False)
        fast._precision = precision
        if next(self.parameters()).device.type == "cpu" and onednn.available(precision):
            for part in (fast.encoder, fast):
                for name, module in part.named_children():
                    if hasattr(module, "fused"):
                        setattr(part, name, module.fused(precision))
        return fast

    def _autocast(self, wav: Tensor) -> contextlib.AbstractContextManager:
        """Mixed precision where :meth:`for_inference` was asked for it; otherwise whatever the caller has."""
        mixed = self._precision == "bfloat16"
        return torch.autocast(wav.device.type, torch.bfloat16) if mixed else contextlib.nullcontext()

    def encode_window(self, wav: Tensor) -> list[Tensor]:
        """Windows, wav (B, N) with N at most :attr:`window_samples`, to hidden states, L+1 times (B, T, H)."""
        with self._autocast(wav):
            states = self.encoder(wav)
        return [state.to(wav.dtype) for state in states] if self._precision == "bfloat16" else states

    def forward(self, wav: Tensor) -> tuple[list[Tensor], Tensor]:
        """Crops of one length, wav (B, N), to hidden states, L+1 times (B, T', H), and embeddings (B, E).

        A crop longer than a window is covered by windows as in :meth:`hidden_cover`, here with gradients.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._encoder_frozen):
            hidden = self._encode(wav)
        return hidden, self.embed_hidden(hidden, wav)

    def _encode(self, wav: Tensor) -> list[Tensor]:
        if wav.shape[1] <= self.window_samples:
            return self.encode_window(wav)
        starts = self.cover_starts(wav.shape[1])
        states = self.encode_window(torch.cat([wav[:, start : start + self.window_samples] for start in starts]))
        return self._stitch(starts, list(zip(*(state.chunk(len(starts)) for state in states), strict=True)))

    def embed_hidden(self, hidden: Sequence[Tensor], wav: Tensor) -> Tensor:
        """Hidden states, L+1 times (B, T, H), and the wav (B, N) that they are of, to embeddings (B, E)."""
        with self._autocast(wav):
            embedding = self.backend(hidden, wav) if self.backend.needs_wav else self.backend(hidden)
        return embedding.to(wav.dtype) if self._precision == "bfloat16" else embedding

    @torch.inference_mode()
    def hidden_cover(self, wavs: Sequence[Tensor], batch_size: int = 8) -> list[list[Tensor]]:
        """Hidden states of utterances of any length: for each wav (N,), N at least one window, L+1 times (T, H).

        Windows of T frames cover the utterance; the last is aligned with its end and gives only the frames
        that the one before did not.
        """
        starts = [self.cover_starts(len(wav)) for wav in wavs]
        windows = self._windows(wavs, starts)
        hidden: list[list[Tensor]] = []
        for part in windows.split(batch_size):
            states = self.encode_window(part)
            hidden.extend([state[i] for state in states] for i in range(len(part)))
        result, index = [], 0
        for utterance_starts in starts:
            result.append(self._stitch(utterance_starts, hidden[index : index + len(utterance_starts)]))
            index += len(utterance_starts)
        return result

    def _stitch(self, starts: Sequence[int], windows: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """The L+1 states (..., T, H) of windows from the samples *starts* on, each frame once, side by side."""
        done, kept = 0, []
        for start, states in zip(starts, windows, strict=True):
            first = start // FRAME
            kept.append([state[..., done - first :, :] for state in states])
            done = first + self.window_frames
        return [torch.cat(states, dim=-2) for states in zip(*kept, strict=True)]

    @torch.inference_mode()
    def embed_cover(self, wavs: Sequence[Tensor], batch_size: int = 8) -> Tensor:
        """Embeddings (len(wavs), E) of utterances of any length, each (N,), N at least one window.

        The hidden states of :meth:`hidden_cover` (and the whole wav, where the backend hears it) go through the
        backend utterance by utterance, so that an embedding depends on nothing else in the batch.
        """
        hidden = self.hidden_cover(wavs, batch_size)
        rows = [
            self.embed_hidden([state[None] for state in states], wav[None])
            for states, wav in zip(hidden, wavs, strict=True)
        ]
        return torch.cat(rows)

    @torch.inference_mode()
    def embed_crops(self, wavs: Sequence[Tensor], num_crops: int = 10, batch_size: int = 8) -> Tensor:
        """Embeddings (len(wavs), E): the mean of the length-normalised embeddings of evenly spaced crops.

        The inner product of two such means is the mean of the num_crops² pair scores, the paper's test
        protocol; their cosine differs from it by the lengths of the two means.
        """
        starts = [self.crop_starts(len(wav), num_crops) for wav in wavs]
        windows = self._windows(wavs, starts)
        rows = torch.cat([self(part)[1] for part in windows.split(batch_size)])
        rows = nn.functional.normalize(rows)
        return torch.stack([part.mean(0) for part in rows.split([len(s) for s in starts])])

    def num_frames(self, num_samples: int) -> int:
        """Frames that windows over *num_samples* samples, at least one window, give."""
        return (num_samples - self.window_samples) // FRAME + self.window_frames

    def cover_starts(self, num_samples: int) -> list[int]:
        """First samples of the windows that cover *num_samples*: side by side, but for the last, which ends there."""
        frames = self.num_frames(num_samples)
        starts = list(range(0, frames - self.window_frames + 1, self.window_frames))
        if starts[-1] + self.window_frames < frames:
            starts.append(frames - self.window_frames)
        return [start * FRAME for start in starts]

    def crop_starts(self, num_samples: int, num_crops: int) -> list[int]:
        """First samples of *num_crops* (fewer in a very short wav) evenly spaced windows."""
        room = num_samples - self.window_samples
        count = min(num_crops, room + 1)
        return [round(i * room / max(1, count - 1)) for i in range(count)]

    def _windows(self, wavs: Sequence[Tensor], starts: Sequence[Sequence[int]]) -> Tensor:
        size = self.window_samples
        return torch.stack([w[s : s + size] for w, ss in zip(wavs, starts, strict=True) for s in ss])


def located(teacher: dict, base: Path) -> dict:
    """The component *teacher*; a source in the directory *base* becomes an absolute path, true from anywhere."""
    inside = base / str(teacher.get("source", ""))
    return {**teacher, "source": str(inside.resolve())} if "source" in teacher and inside.exists() else teacher


def build_model(
    config: ModelConfig, *, base: Path | None = None, frozen: bool = True, path: Any = None
) -> SpeakerModel:
    """Build a model with fresh weights (a teacher's encoder is loaded from its source).

    Args:
        config: what to build.
        base: directory that a relative teacher source may lie in.
        frozen: for a teacher, whether its encoder is frozen.
        path: configuration file, for messages.
    """
    if config.kind == "teacher":
        if base is not None:
            config = dataclasses.replace(config, teacher=located(config.teacher, base))
        encoder = configure("teachers", config.teacher, "teacher", path).build(frozen=frozen)
    else:
        student = configure("students", config.student, "student", path)
        frontend = configure("frontends", config.frontend, "frontend", path).build(hidden_dim=student.config.hidden_dim)
        frames = frontend.num_frames(round(config.window * SAMPLE_RATE))
        if frames < 2:
            raise ConfigError("the window is too short", path=path, found=f"{config.window} s, {frames} frame(s)")
        encoder = StudentEncoder(
            frontend, student.build(num_frames=frames), student.config.hidden_dim, student.config.num_layers + 1
        )
    backend = configure("backends", config.backend, "backend", path)
    return SpeakerModel(config, encoder, backend.build(num_hidden=encoder.num_hidden, hidden_dim=encoder.hidden_dim))


def is_exported(directory: str | os.PathLike) -> bool:
    """Whether *directory* is one that ``svtk export`` wrote, which :mod:`svtk.models.exported` opens."""
    return (Path(directory) / "export.json").is_file()


def load_model(directory: str | os.PathLike, device: str = "cpu", *, frozen: bool = True) -> SpeakerModel:
    """Load a MODEL_DIR, in evaluation mode.

    Raises:
        ModelError: it is not a MODEL_DIR, or an exported one, or its weights are those of another architecture.
    """
    directory = Path(directory)
    if is_exported(directory):
        mend = "give the MODEL_DIR that it was made of"
        raise ModelError("an exported model, which can only give embeddings", path=directory, mend=mend)
    if not (directory / "config.yaml").exists():
        raise ModelError(
            "not a model directory",
            path=directory,
            found="no config.yaml",
            mend="give the output of distill or train-teacher",
        )
    file = directory / "config.yaml"
    config = from_mapping(ModelConfig, load_yaml(file), path=file)
    model = build_model(config, base=directory, frozen=frozen, path=file)
    weights_file = directory / "model.safetensors"
    try:
        weights = load_file(weights_file)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read weights: {error}", path=weights_file, mend="train the model again") from error
    check_state(model, weights, weights_file)
    model.load_state_dict(weights, strict=False)
    return model.to(device).eval()


def _own_state(model: SpeakerModel) -> dict[str, Tensor]:
    """The weights that MODEL_DIR holds: all of a student, a teacher's backend."""
    state = model.state_dict()
    if model.config.kind == "teacher":
        state = {key: value for key, value in state.items() if not key.startswith("encoder.")}
    return state


def check_state(model: SpeakerModel, weights: dict[str, Tensor], path: Path) -> None:
    """Raise ModelError unless *weights* have just the names and shapes that *model* expects."""
    wanted = _own_state(model)
    mend = "use the config.yaml that was saved with these weights"
    for key in [*wanted, *weights]:
        if key not in weights or key not in wanted:
            side = "missing" if key not in weights else "unexpected"
            raise ModelError(f"weights of another architecture: {key!r} is {side}", path=path, mend=mend)
        if weights[key].shape != wanted[key].shape:
            raise ModelError(
                f"weights of another architecture: {key!r}",
                path=path,
                found=f"shape {tuple(weights[key].shape)}",
                expected=f"{tuple(wanted[key].shape)}",
                mend=mend,
            )


def save_model(model: SpeakerModel, directory: str | os.PathLike) -> None:
    """Write config.yaml and, last and by rename, model.safetensors."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    save_yaml(dataclasses.asdict(model.config), directory / "config.yaml")
    save_tensors(_own_state(model), directory / "model.safetensors")
