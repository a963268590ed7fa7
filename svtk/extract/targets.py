"""Teacher targets of whole utterances, one Kaldi table per layer; resumable."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import torch

from svtk.data import SAMPLE_RATE
from svtk.data.audio import read_audio, repeat_to
from svtk.data.cuts import load_utterances
from svtk.data.targets import Targets, TargetsInfo
from svtk.errors import ConfigError, DataError
from svtk.fingerprint import sha256_of_json
from svtk.kaldi.datadir import read_map
from svtk.kaldi.specifiers import is_rspecifier
from svtk.kaldi.tables import TableWriter
from svtk.kaldi.text import write_text
from svtk.models.teacher import digest_weights, load_teacher
from svtk.progress import progress

__all__ = ["extract_targets", "parse_layers"]

log = logging.getLogger(__name__)

_BYTES = {"none": 4, "auto": 1, "two-byte": 2}


def parse_layers(text: str, num_hidden: int) -> list[int]:
    """``last``, ``all`` or ``0,3,-1`` to sorted layers counted from 0.

    >>> parse_layers("0,last", 13)
    [0, 12]

    Raises:
        ConfigError: not a layer that the teacher has.
    """
    layers = set()
    for word in text.split(","):
        word = word.strip()
        if word == "all":
            layers.update(range(num_hidden))
            continue
        try:
            layer = num_hidden - 1 if word == "last" else int(word)
        except ValueError:
            layer = num_hidden
        if not -num_hidden <= layer < num_hidden:
            raise ConfigError("no such layer", found=repr(word), expected=f"0 ... {num_hidden - 1}, last or all")
        layers.add(layer % num_hidden)
    return sorted(layers)


def _complete(out: Path, info: TargetsInfo, frames: dict[str, int]) -> bool:
    """Whether *out* holds just these targets.

    Raises:
        DataError: it holds others.
    """
    if not (out / "targets.json").exists():
        return False
    found = Targets(out, []).info
    what = [f.name for f in dataclasses.fields(info) if getattr(found, f.name) != getattr(info, f.name)]
    if read_map(out / "utt2num_frames") != {utt: str(count) for utt, count in frames.items()}:
        what.append("utterances")
    if what:
        raise DataError(
            "the directory holds other teacher targets",
            path=out,
            found=f"a difference in {', '.join(what)}",
            mend="choose another OUT_DIR, or remove this one",
        )
    return True


def extract_targets(
    teacher: str,
    data_dir: str,
    out_dir: str | os.PathLike,
    *,
    layers: str = "last",
    compress: str = "none",
    min_duration: float = 3.0,
    vad: bool = False,
    device: str = "cpu",
) -> None:
    """Write the hidden states of every utterance of *data_dir* below *out_dir*.

    Args:
        teacher: hub name or directory.
        data_dir: data directory.
        out_dir: gets ``layerK.{ark,scp}``, ``utt2num_frames`` and, last, ``targets.json``.
        layers: as :func:`parse_layers`.
        compress: ``none`` (float32), ``auto`` (one byte a value) or ``two-byte``: Kaldi's compressed matrices.
        min_duration: shorter utterances are repeated to this many seconds, as they are for training crops.
        vad: of speech only, by the ``vad.scp`` of the data directory.
        device: torch device.

    Raises:
        ConfigError: a layer that the teacher does not have.
        DataError: not enough disk, unreadable audio, or *out_dir* holds other targets or is a wspecifier.
        ModelError: the teacher cannot be loaded.
    """
    out = Path(out_dir)
    if is_rspecifier(str(out)):
        mend = (
            "name a directory; the tables are its layerK.scp, for Kaldi too: copy-feats scp:OUT_DIR/layer12.scp ark:-"
        )
        raise DataError("teacher targets go to a directory", found=repr(str(out)), mend=mend)
    model = load_teacher(teacher).to(device)
    info = TargetsInfo(
        teacher=str(teacher),
        weights=digest_weights(model),
        hidden_dim=model.hidden_dim,
        num_hidden=model.num_hidden,
        layers=parse_layers(layers, model.num_hidden),
        min_duration=min_duration,
        compress=compress,
        vad=vad,
    )
    items = list(load_utterances(data_dir, speech_only=vad))
    min_samples = round(min_duration * SAMPLE_RATE)
    frames = {item.utt: model.num_frames(max(item.num_samples, min_samples)) for item in items}
    if _complete(out, info, frames):
        log.info("%s: teacher targets are complete; nothing to do", out)
        return
    out.mkdir(parents=True, exist_ok=True)
    needed = sum(frames.values()) * model.hidden_dim * _BYTES[compress] * len(info.layers)
    written = sum(f.stat().st_size for f in out.glob("layer*.ark.part"))
    free = shutil.disk_usage(out).free
    log.info(
        "teacher targets: %d utterances, layers %s, %.2f GiB (free %.1f GiB)",
        len(items),
        info.layers,
        needed / 2**30,
        free / 2**30,
    )
    if needed - written > free:
        raise DataError(
            "not enough disk for the teacher targets",
            path=out,
            found=f"{free / 2**30:.2f} GiB free",
            expected=f"{needed / 2**30:.2f} GiB",
            mend="use --compress auto, fewer --layers, or let distill run the teacher (--teacher)",
        )
    utterances = sha256_of_json([dataclasses.astuple(item) for item in items])  # which, and where they lie
    with ExitStack() as stack:
        writers = {
            layer: stack.enter_context(
                TableWriter(
                    f"ark,scp:{out}/layer{layer}.ark,{out}/layer{layer}.scp",
                    compression=compress,
                    resume=True,
                    fingerprint=[dataclasses.asdict(info), utterances],
                )
            )
            for layer in info.layers
        }
        ready = sum(all(item.utt in writer.done for writer in writers.values()) for item in items)
        if ready:
            log.info("resuming: %d of %d utterances are there", ready, len(items))
        for item in progress(items, "teacher targets"):
            if all(item.utt in writer.done for writer in writers.values()):
                continue
            wav = repeat_to(read_audio(item.wav, item.start, item.num_samples, item.utt), min_samples)
            with torch.inference_mode():
                states = model(torch.from_numpy(wav)[None].to(device))
            for layer, writer in writers.items():
                if item.utt not in writer.done:
                    writer.write(item.utt, states[layer][0].float().cpu().numpy())
    write_text(
        out / "utt2num_frames", (f"{utt} {count}" for utt, count in sorted(frames.items(), key=lambda x: x[0].encode()))
    )
    write_text(out / "targets.json", [json.dumps(dataclasses.asdict(info))])
