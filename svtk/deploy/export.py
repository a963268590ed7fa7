"""A MODEL_DIR as ONNX graphs, checked against it: float32, or int8 with the error rate that it costs."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from svtk import __version__
from svtk.config import save_yaml
from svtk.data.audio import read_audio, repeat_to
from svtk.data.cuts import load_utterances
from svtk.deploy.graphs import OPSET, write_graphs
from svtk.deploy.quantize import Quantization, quantize
from svtk.errors import ConfigError, DataError, ModelError
from svtk.fingerprint import sha256_of_files, sha256_of_json
from svtk.models.exported import ExportedModel, ExportInfo, embedder_files, open_embedder
from svtk.models.speaker_model import SpeakerModel, is_exported

__all__ = ["PARITY", "export", "relative_difference"]

log = logging.getLogger(__name__)

#: how far, relative to its length, an exported float32 model's embedding may be from the model's own
PARITY = 1e-4
#: the mean cosine to the model's own embeddings below which int8 embeddings are refused
_MIN_COSINE = 0.9
_CALIBRATION_WINDOWS = 128
_CALIBRATION_BATCH = 8
#: what verbs write to an exported directory, and a new export may replace
_OURS = {"encoder.onnx", "backend.onnx", "config.yaml", "export.json", "provenance.json", "benchmark.json"}


def export(
    model_dir: str,
    out_dir: str,
    *,
    quantization: Quantization | None = None,
    calibration_data: str | None = None,
    seed: int = 0,
) -> ExportInfo:
    """Write ``encoder.onnx``, ``backend.onnx``, ``config.yaml`` and ``export.json`` to OUT_DIR, which appears whole.

    What is there already, of the same model and options, is not made again.

    Args:
        model_dir: MODEL_DIR of a student or a teacher; for int8 also its float32 export, whose graphs are taken.
        out_dir: not there yet, empty, or an earlier export, which is replaced.
        quantization: None for float32.
        calibration_data: data directory that ``static`` finds its scales on.
        seed: of the noise on which model and export are compared, and of the calibration windows.

    Raises:
        ModelError: the exported model's embeddings differ by more than :data:`PARITY`; MODEL_DIR holds no model, or
            what needs no export.
        ConfigError: ``static`` without calibration data, or calibration data without it.
        DataError: OUT_DIR holds something else, or MODEL_DIR; the calibration data cannot be read.
    """
    if (quantization == "static") != (calibration_data is not None):
        raise ConfigError("static quantisation and calibration data go together", mend="give both, or neither")
    target = Path(out_dir)
    _refuse_to_overwrite(target, model_dir)
    model = open_embedder(model_dir)
    if isinstance(model, ExportedModel) and (quantization is None or model.info.precision != "float32"):
        raise ModelError("exported already", path=model_dir, mend="give the MODEL_DIR that it was made of")
    utterances = _calibration(calibration_data)
    fingerprint = [
        sha256_of_files(embedder_files(model_dir)),
        sha256_of_json([quantization, utterances, seed, _versions()]),
    ]
    if is_exported(target):
        info = ExportedModel(target, 1).info
        if info.details.get("fingerprint") == fingerprint:
            log.info("already there: %s", target)
            return info
        _refuse_to_remove_others(target)
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        info = _export_to(part, model, quantization, utterances, seed, fingerprint)
        if target.exists():
            shutil.rmtree(target)
        os.replace(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    compared = f" (float32: {info.details['bytes_float32'] / 2**20:.2f})" if quantization is not None else ""
    log.info("%s: %s, %.2f MiB%s", target, info.precision, info.details["bytes"] / 2**20, compared)
    return info


def _refuse_to_overwrite(target: Path, model_dir: str) -> None:
    """Raise DataError unless *target* is free, or an earlier export other than the model itself."""
    if Path(model_dir).resolve().is_relative_to(target.resolve()):
        raise DataError("OUT_DIR holds MODEL_DIR, or is it", path=target, mend="name another OUT_DIR")
    if target.exists() and not is_exported(target) and any(target.iterdir()):
        raise DataError("OUT_DIR holds something else", path=target, mend="name another OUT_DIR")


def _refuse_to_remove_others(target: Path) -> None:
    """Raise DataError if an earlier export, about to be replaced, holds files that are none of its own."""
    others = sorted(item.name for item in target.iterdir() if item.name not in _OURS)
    if others:
        mend = "move them, or name another OUT_DIR"
        raise DataError("OUT_DIR holds other files than an export's", path=target, found=", ".join(others), mend=mend)


def _versions() -> dict[str, str]:
    return {
        **{"svtk": __version__, "torch": torch.__version__},
        **{"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
    }


def _export_to(
    part: Path,
    model: SpeakerModel,
    quantization: Quantization | None,
    utterances: list[tuple],
    seed: int,
    fingerprint: list[str],
) -> ExportInfo:
    encoder, backend = part / "encoder.onnx", part / "backend.onnx"
    if isinstance(model, ExportedModel):
        for file in (encoder, backend):
            shutil.copyfile(model.directory / file.name, file)
    else:
        write_graphs(model, encoder, backend)
    save_yaml(dataclasses.asdict(model.config), part / "config.yaml")
    info = ExportInfo(
        window_samples=model.window_samples,
        window_frames=model.window_frames,
        num_hidden=model.encoder.num_hidden,
        hidden_dim=model.encoder.hidden_dim,
        embedding_dim=model.embedding_dim,
        needs_wav=model.backend.needs_wav,
        precision="float32",
        opset=OPSET,
        parity={},
        details={"fingerprint": fingerprint, "versions": _versions(), "bytes": _bytes(part)},
    )
    _write_info(info, part)
    if isinstance(model, ExportedModel):
        info = dataclasses.replace(info, parity=model.info.parity)
    else:
        info = dataclasses.replace(info, parity=_parity(model, ExportedModel(part), seed))
    if quantization is not None:
        info = _quantize(part, model, info, quantization, utterances, seed)
    _write_info(info, part)
    return info


def _write_info(info: ExportInfo, directory: Path) -> None:
    (directory / "export.json").write_text(json.dumps(dataclasses.asdict(info), indent=1) + "\n", encoding="utf-8")


def _bytes(directory: Path) -> int:
    return sum((directory / name).stat().st_size for name in ("encoder.onnx", "backend.onnx"))


def relative_difference(rows: Tensor, wanted: Tensor) -> float:
    """The largest |a - b| / |b| of embeddings (K, E); not a number where one of them is."""
    return float(((rows - wanted).norm(dim=1) / wanted.norm(dim=1)).max())


def _noise(window: int, seed: int) -> list[Tensor]:
    """Noise of several lengths from *window* samples on, swelling from near silence to full scale."""
    generator = torch.Generator().manual_seed(seed)
    lengths = (window, window + 1, window * 3 // 2, window * 37 // 10)
    return [
        torch.randn(length, generator=generator) * 10 ** torch.linspace(-3 + 0.5 * i, -1, length)
        for i, length in enumerate(lengths)
    ]


def _parity(model: SpeakerModel, exported: ExportedModel, seed: int) -> dict[str, float]:
    """The largest relative differences, over windows of several utterances together and one by one, and over crops.

    Raises:
        ModelError: one is larger than :data:`PARITY`.
    """
    wavs = _noise(model.window_samples, seed)
    found = {
        "cover": relative_difference(exported.embed_cover(wavs, 3), model.embed_cover(wavs, 8)),
        "cover_one_by_one": relative_difference(exported.embed_cover(wavs, 1), model.embed_cover(wavs, 8)),
        "crops": relative_difference(exported.embed_crops(wavs[2:], 3, 4), model.embed_crops(wavs[2:], 3, 4)),
    }
    log.info("largest relative difference from the model's embeddings: %.1e", max(found.values()))
    if not max(found.values()) <= PARITY:
        raise ModelError(
            "the exported graphs give other embeddings than the model; nothing is written",
            found=", ".join(f"{name} {value:.1e}" for name, value in found.items()),
            expected=f"at most {PARITY:g} relative to an embedding's length",
            mend="use the MODEL_DIR itself",
        )
    return found


def _calibration(data_dir: str | None) -> list[tuple]:
    """(utt, wav, first sample, samples) of utterances spread evenly over a data directory."""
    if data_dir is None:
        return []
    items = list(load_utterances(data_dir))
    if not items:
        raise DataError("no utterances to calibrate on", path=data_dir)
    chosen = np.unique(np.linspace(0, len(items) - 1, _CALIBRATION_WINDOWS).round().astype(int))
    return [(items[i].utt, items[i].wav, items[i].start, items[i].num_samples) for i in chosen]


def _calibration_windows(utterances: list[tuple], window: int, seed: int) -> Tensor:
    """One window (K, N) from a random place of each utterance."""
    rng = np.random.default_rng(seed)
    rows = []
    for utt, *place in utterances:
        samples = repeat_to(read_audio(*place, utt), window)
        first = rng.integers(len(samples) - window + 1)
        rows.append(torch.from_numpy(samples[first : first + window]))
    return torch.stack(rows)


def _quantize(
    part: Path, model: SpeakerModel, info: ExportInfo, how: Quantization, utterances: list[tuple], seed: int
) -> ExportInfo:
    """Replace the float32 graphs of *part* by those of int8.

    Raises:
        ModelError: the embeddings' mean cosine to the model's own is below 0.9.
    """
    if utterances:
        windows = _calibration_windows(utterances, model.window_samples, seed)
    else:
        windows = torch.stack([wav[: model.window_samples] for wav in _noise(model.window_samples, seed)])
    exported = ExportedModel(part)
    feeds: dict[str, list] = {"encoder": [], "backend": []}
    for batch in windows.split(_CALIBRATION_BATCH) if how == "static" else ():
        hidden = exported.encoder(batch)
        inputs = [*hidden, batch] if info.needs_wav else hidden
        for name, tensors in (("encoder", [batch]), ("backend", inputs)):
            graph = getattr(exported, name)
            feeds[name].append({key: value.numpy() for key, value in zip(graph.inputs, tensors, strict=True)})
    for name in ("encoder", "backend"):
        file = part / f"{name}.onnx"
        smaller = part / f"{name}_int8.onnx"
        quantize(file, smaller, how, feeds[name])
        os.replace(smaller, file)
    wavs = list(windows)
    cosines = torch.cosine_similarity(ExportedModel(part).embed_cover(wavs), model.embed_cover(wavs))
    mean = float(cosines.mean())
    log.info("int8 (%s): mean cosine to the model's embeddings %.5f", how, mean)
    if not mean >= _MIN_COSINE:
        raise ModelError(
            "int8 embeddings are not those of the model; nothing is written",
            found=f"a mean cosine of {mean:.3f}",
            expected=f"at least {_MIN_COSINE}",
            mend="try the other quantisation, or float32",
        )
    details = {"quantization": how, "calibration_windows": len(utterances), "bytes_float32": info.details["bytes"]}
    return dataclasses.replace(
        info,
        precision="int8",
        parity={**info.parity, "int8_mean_cosine": mean, "int8_min_cosine": float(cosines.min())},
        details={**info.details, **details, "bytes": _bytes(part)},
    )
