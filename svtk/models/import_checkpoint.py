"""Checkpoints of others as models of ours: the SV-Mixer authors' torch.hub release, and WavLM of unilm and s3prl.

Of the same group's SSRFNet release the encoder is one of these, too; its ReDimNet classifier is not known here.
Layouts are known by the weights in them; ``name_maps/*.yaml`` say what their names become. Checkpoints are loaded as
weights only, so that none can run code.
"""

from __future__ import annotations

import ast
import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from svtk.config import from_mapping
from svtk.data import FRAME, SAMPLE_RATE
from svtk.errors import ModelError
from svtk.models.import_names import NameMap, Renamed, Report, fit, load_name_map, rename
from svtk.models.speaker_model import StudentSpec, build_model, save_model
from svtk.weights import open_to_umask

__all__ = ["Imported", "import_checkpoint"]

_MAPS = Path(__file__).with_name("name_maps")
_LAYOUTS = "an SV-Mixer state dict of the authors' release, or WavLM as unilm and s3prl keep it"


@dataclasses.dataclass(frozen=True)
class Imported:
    """What came of a checkpoint: its ``layout``, the ``report``, and whether the model has a trained backend."""

    layout: str
    report: Report
    has_backend: bool


def import_checkpoint(
    checkpoints: Sequence[str | os.PathLike],
    directory: str | os.PathLike,
    name_map: str | os.PathLike | None = None,
    told: Callable[[Report], None] = lambda report: None,
) -> Imported:
    """Write the model of one or several checkpoints (encoder and classifier of one model).

    SV-Mixer becomes a MODEL_DIR: sizes follow from the weights; without a classifier the backend is a new linear one,
    untrained. WavLM becomes a directory as Hugging Face saves one, which ``--teacher`` and ``--encoder`` take.

    Args:
        checkpoints: ``.pt``, ``.ckpt`` or ``.safetensors``.
        directory: to be made; it must not hold anything yet.
        name_map: rules that come before those that are known (:class:`svtk.models.import_names.Rule`).
        told: is given the report before a weight that is missing is an error.

    Raises:
        ModelError: not a checkpoint, one that holds more than weights, another layout, or weights that are missing
            or do not fit; *directory* holds something.
        ConfigError: *name_map* is wrong.
    """
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ModelError("there is something already", path=directory, mend="choose another directory")
    own = NameMap((), ()) if name_map is None else load_name_map(Path(name_map))
    contents = [_read(Path(path)) for path in checkpoints]
    unilm = [content for content in contents if set(content) >= {"cfg", "model"}]
    if unilm and len(contents) > 1:
        raise ModelError("WavLM is one checkpoint", found=f"{len(contents)}", mend="give the one with cfg and model")
    weights: dict[str, Tensor] = {}
    for path, content in zip(checkpoints, contents, strict=True):
        for name, tensor in _weights(content, Path(path)).items():
            if name in weights:
                raise ModelError(f"{name!r} stands in several checkpoints", path=path)
            weights[name] = tensor
    part = directory.with_name(directory.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    report = Report()
    path = Path(checkpoints[0])
    try:
        if unilm:
            names = own.above(load_name_map(_MAPS / "wavlm_unilm.yaml"))
            _save_wavlm(unilm[0]["cfg"], rename(weights, names, report), report, told, part, path)
            done = Imported("wavlm_unilm", report, False)
        else:
            renamed = rename(weights, own.above(load_name_map(_MAPS / "sv_mixer_hub.yaml")), report)
            has_backend = _save_sv_mixer(renamed, report, told, part, path)
            done = Imported("sv_mixer_hub", report, has_backend)
        if directory.exists():
            directory.rmdir()
        part.rename(directory)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return done


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError("no such file", path=path) from error
    except UnpicklingError as error:
        mend = "where you trust it, save its weights alone: torch.save(torch.load(FILE, weights_only=False)[...], NEW)"
        raise ModelError("holds more than weights, which is not loaded", path=path, mend=mend) from error
    except Exception as error:  # of a damaged file torch's unpickler raises whatever it stumbles over
        why = str(error).splitlines() or [type(error).__name__]
        raise ModelError(f"not a checkpoint: {why[0]}", path=path) from error
    if not isinstance(content, Mapping):
        raise ModelError("not a checkpoint", path=path, found=type(content).__name__, expected=_LAYOUTS)
    return dict(content)


def _weights(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The state dict itself; the weights of a Lightning or unilm checkpoint lie one level deeper."""
    for inner in ("model", "state_dict"):
        if isinstance(content.get(inner), Mapping):
            content = content[inner]
    weights = {name: tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    if not weights:
        raise ModelError("no weights in it", path=path, found=", ".join(map(str, content))[:80], expected=_LAYOUTS)
    return weights


def _require_all(report: Report, told: Callable[[Report], None], path: Path) -> None:
    told(report)
    if report.missing:
        raise ModelError(
            f"{len(report.missing)} weight(s) of the model are not in the checkpoint: {report.missing[0]!r} ...",
            path=path,
            found=f"{len(report.unknown)} weight(s) whose names no rule knows",
            mend="write rules for them, --name-map",
        )


def _save_sv_mixer(
    renamed: dict[str, Renamed], report: Report, told: Callable[[Report], None], directory: Path, path: Path
) -> bool:
    """Write the MODEL_DIR; returns whether there was a backend, too."""
    has_backend = any(name.startswith("backend.") for name in renamed)
    model = build_model(_sizes(renamed, path).model_config())
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if not has_backend:
        shapes = {name: shape for name, shape in shapes.items() if not name.startswith("backend.")}
    state = fit(renamed, shapes, report)
    _require_all(report, told, path)
    model.load_state_dict(state, strict=False)
    save_model(model.float(), directory)
    return has_backend


def _sizes(renamed: Mapping[str, Renamed], path: Path) -> StudentSpec:
    """What the shapes of weights tell of an SV-Mixer, its frontend and its ECAPA-TDNN."""

    def shape(name: str, axes: int) -> tuple[int, ...]:
        if name not in renamed:
            raise ModelError(f"no weight for {name!r}", path=path, expected=_LAYOUTS, mend="write rules, --name-map")
        found = tuple(renamed[name].tensor.shape)
        if len(found) != axes:
            raise ModelError(f"{renamed[name].source!r} has another form", path=path, found=f"{found}")
        return found

    def count(pattern: str) -> int:
        number = 0
        while pattern.format(number) in renamed:
            number += 1
        return number

    inner, frames = shape("encoder.student.blocks.0.time_mixing.token.up.weight", 2)
    convs = [
        shape(f"encoder.frontend.convs.{i}.weight", 3) for i in range(max(1, count("encoder.frontend.convs.{}.weight")))
    ]
    frontend = {"name": "waveform_conv", "channels": [c[0] for c in convs], "kernels": [c[2] for c in convs]}
    student = {
        "name": "sv_mixer",
        "num_layers": count("encoder.student.blocks.{}.time_norm.weight"),
        "hidden_dim": shape("encoder.frontend.projection.weight", 2)[0],
        "group_dim": shape("encoder.student.blocks.0.channel_mixing.full_rate.up_weight", 3)[1],
        "expansion": inner // frames,
    }
    backend: dict[str, Any] = {"name": "linear"}
    if any(name.startswith("backend.") for name in renamed):
        backend = {
            "name": "ecapa_dense",
            "channels": shape("backend.stem.0.weight", 3)[0],
            "aggregate_channels": shape("backend.aggregate.weight", 3)[0],
            "attention_channels": shape("backend.attention.0.weight", 3)[0],
            "res2net_scale": 1 + count("backend.blocks.0.steps.{}.0.weight"),
            "se_channels": shape("backend.blocks.0.gate.0.weight", 3)[0],
            "embedding_dim": shape("backend.linear.weight", 2)[0],
        }
    return StudentSpec((frames + 1) * FRAME / SAMPLE_RATE, frontend, student, backend)


def _save_wavlm(
    cfg: Any, renamed: dict[str, Renamed], report: Report, told: Callable[[Report], None], directory: Path, path: Path
) -> None:
    from transformers import WavLMModel

    from svtk.teachers._base import quiet_transformers
    from svtk.teachers._wav2vec2_family import save_feature_extractor

    quiet_transformers()
    config, normalize = _wavlm_config(cfg, path)
    model = WavLMModel(config)
    state = fit(renamed, {name: tensor.shape for name, tensor in model.state_dict().items()}, report)
    report.missing = [name for name in report.missing if name != "masked_spec_embed"]  # for pretraining only
    _require_all(report, told, path)
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)
    model.save_pretrained(directory)
    open_to_umask(directory)
    save_feature_extractor(str(directory), normalize)


@dataclasses.dataclass(frozen=True)
class _Unilm:
    """What unilm's ``cfg`` says of the model, with its defaults."""

    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    activation_fn: Literal["gelu"] = "gelu"
    extractor_mode: Literal["default", "layer_norm"] = "default"
    layer_norm_first: bool = False
    conv_feature_layers: str = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2"
    conv_bias: bool = False
    normalize: bool = False
    conv_pos: int = 128
    conv_pos_groups: int = 16
    relative_position_embedding: Literal[True] = True
    num_buckets: int = 320
    max_distance: int = 1280
    gru_rel_pos: Literal[True] = True


def _wavlm_config(cfg: Any, path: Path) -> tuple[Any, bool]:
    """Hugging Face's configuration for unilm's, and whether the wav is normalised."""
    from transformers import WavLMConfig

    if not isinstance(cfg, Mapping):
        raise ModelError("no configuration", path=path, found=type(cfg).__name__, expected="cfg, a mapping")
    known = {field.name for field in dataclasses.fields(_Unilm)}
    of = from_mapping(_Unilm, {key: value for key, value in cfg.items() if key in known}, "cfg", path)
    try:
        convs = _conv_layers(of.conv_feature_layers)
    except (TypeError, ValueError, SyntaxError) as error:
        found = f"conv_feature_layers {of.conv_feature_layers!r}"
        raise ModelError("cfg is not WavLM's", path=path, found=found) from error
    config = WavLMConfig(
        hidden_size=of.encoder_embed_dim,
        num_hidden_layers=of.encoder_layers,
        num_attention_heads=of.encoder_attention_heads,
        intermediate_size=of.encoder_ffn_embed_dim,
        conv_dim=[dim for dim, _, _ in convs],
        conv_kernel=[kernel for _, kernel, _ in convs],
        conv_stride=[stride for _, _, stride in convs],
        conv_bias=of.conv_bias,
        feat_extract_norm="layer" if of.extractor_mode == "layer_norm" else "group",
        do_stable_layer_norm=of.layer_norm_first,
        num_conv_pos_embeddings=of.conv_pos,
        num_conv_pos_embedding_groups=of.conv_pos_groups,
        num_buckets=of.num_buckets,
        max_bucket_distance=of.max_distance,
        apply_spec_augment=False,
        layerdrop=0.0,
    )
    return config, of.normalize


def _conv_layers(text: str) -> list[tuple[int, int, int]]:
    """``[(512, 10, 5)] + [(512, 3, 2)] * 4``, of which unilm makes Python's list; nothing else is computed.

    >>> _conv_layers("[(8, 10, 5)] + [(8, 3, 2)] * 2")
    [(8, 10, 5), (8, 3, 2), (8, 3, 2)]
    """

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return value(node.left) + value(node.right)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            times = ast.literal_eval(node.right)
            if not isinstance(times, int) or not 0 < times <= 64:
                raise ValueError(f"conv_feature_layers {text!r}")
            return value(node.left) * times
        return ast.literal_eval(node)

    layers = [tuple(layer) for layer in value(ast.parse(text, mode="eval").body)]
    if not layers or any(len(layer) != 3 or not all(isinstance(n, int) for n in layer) for layer in layers):
        raise ValueError(f"conv_feature_layers {text!r}")
    return layers
