"""Teacher targets of whole utterances, one Kaldi table per layer, and their statistics; resumable."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from svtk.data import SAMPLE_RATE
from svtk.data.audio import read_audio, repeat_to
from svtk.data.cuts import load_utterances
from svtk.data.targets import Targets, TargetsInfo, frame_statistics
from svtk.data.utterances import Located
from svtk.errors import ConfigError, DataError
from svtk.fingerprint import sha256_of_json
from svtk.kaldi.datadir import read_map
from svtk.kaldi.specifiers import is_rspecifier
from svtk.kaldi.tables import TableWriter
from svtk.kaldi.text import write_text
from svtk.models.teacher import digest_weights, load_teacher
from svtk.progress import progress

__all__ = ["extract_targets", "parse_layers", "states_of"]

log = logging.getLogger(__name__)

_BYTES = {"none": 4, "auto": 1, "two-byte": 2}  # a value
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def parse_layers(text: str, num_hidden: int) -> list[int]:
    """``last``, ``all``, ``none`` or ``0,3,-1`` to sorted layers counted from 0.

    >>> parse_layers("0,last", 13)
    [0, 12]

    Raises:
        ConfigError: not a layer that the teacher has.
    """
    layers: set[int] = set()
    for word in text.split(",") if text.strip() != "none" else []:
        word = word.strip()
        if word == "all":
            layers.update(range(num_hidden))
            continue
        try:
            layer = num_hidden - 1 if word == "last" else int(word)
        except ValueError:
            layer = num_hidden
        if not -num_hidden <= layer < num_hidden:
            raise ConfigError("no such layer", found=repr(word), expected=f"0 ... {num_hidden - 1}, last, all or none")
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
    max_gib: float | None = None,
    batch_duration: float = 0.0,
    precision: str = "fp32",
    device: str = "cpu",
) -> None:
    """Write the hidden states of the utterances of *data_dir* below *out_dir*.

    Args:
        teacher: hub name or directory.
        data_dir: data directory.
        out_dir: gets ``layerK.{ark,scp}``, ``cmvn_layerK.{ark,scp}``, ``utt2num_frames`` and, last, ``targets.json``.
        layers: as :func:`parse_layers`.
        compress: ``none`` (float32), ``auto`` (one byte a value) or ``two-byte``: Kaldi's compressed matrices.
        min_duration: shorter utterances are repeated to this many seconds, as they are for training crops.
        vad: of speech only, by the ``vad.scp`` of the data directory.
        max_gib: only of so many of the first utterances as fit into this many GiB; None: of all.
        batch_duration: the teacher hears several utterances at once, up to so many seconds together: such of one
            length or, where it masks padding, of similar ones. 0: one after another. The states are the same but for
            rounding, the archive is in another order.
        precision: ``fp32``, ``bf16`` or ``fp16``, that the teacher computes in.
        device: torch device.

    Raises:
        ConfigError: a layer that the teacher does not have, or fp16 on a CPU.
        DataError: not enough disk, unreadable audio, or *out_dir* holds other targets or is a wspecifier.
        ModelError: the teacher cannot be loaded.
    """
    out = Path(out_dir)
    if is_rspecifier(str(out)):
        mend = (
            "name a directory; the tables are its layerK.scp, for Kaldi too: copy-feats scp:OUT_DIR/layer12.scp ark:-"
        )
        raise DataError("teacher targets go to a directory", found=repr(str(out)), mend=mend)
    if precision == "fp16" and device == "cpu":
        raise ConfigError("precision fp16 needs a GPU", found="--device cpu", mend="give --precision bf16")
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
        precision=precision,
    )
    items = list(load_utterances(data_dir, speech_only=vad))
    min_samples = round(min_duration * SAMPLE_RATE)
    frames = {item.utt: model.num_frames(max(item.num_samples, min_samples)) for item in items}
    sizes = [_size(info, frames[item.utt]) for item in items]
    num_all = len(items)
    if max_gib is not None:
        items = items[: sum(size <= max_gib * 2**30 for size in accumulate(sizes))]
        frames = {item.utt: frames[item.utt] for item in items}
        if not items:
            raise DataError(
                "no utterance's teacher targets fit",
                path=out,
                found=f"--max-gib {max_gib:g}",
                expected=f"at least {sizes[0] / 2**30:.2g}",
                mend="raise it, or let distill run the teacher (--teacher)",
            )
    if _complete(out, info, frames):
        log.info("%s: teacher targets are complete; nothing to do", out)
        return
    out.mkdir(parents=True, exist_ok=True)
    needed = sum(sizes[: len(items)])
    written = sum(f.stat().st_size for f in out.glob("*layer*.ark.part"))
    free = shutil.disk_usage(out).free
    log.info(
        "teacher targets: %d utterances%s, layers %s, %.2f GiB (free %.1f GiB)",
        len(items),
        f" of {num_all}" if len(items) < num_all else "",
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
            mend="use --compress auto, fewer --layers, or --max-gib for some of the utterances and --teacher beside "
            "--targets in distill for the others",
        )
    utterances = sha256_of_json([dataclasses.astuple(item) for item in items])  # which, and where they lie
    fingerprint = [dataclasses.asdict(info), utterances]
    with ExitStack() as stack:

        def table(name: str, compression: str = "none") -> TableWriter:
            wspecifier = f"ark,scp,f:{out}/{name}.ark,{out}/{name}.scp"  # f: no entry is lost to a kill
            writer = TableWriter(wspecifier, compression=compression, resume=True, fingerprint=fingerprint)
            return stack.enter_context(writer)

        writers = {layer: (table(f"layer{layer}", compress), table(f"cmvn_layer{layer}")) for layer in info.layers}
        tables = [table for pair in writers.values() for table in pair]
        left = [item for item in items if not all(item.utt in table.done for table in tables)]
        if len(left) < len(items):
            log.info("resuming: %d of %d utterances are there", len(items) - len(left), len(items))
        for item, states in progress(
            states_of(model, left, info, batch_duration, device), "teacher targets", total=len(left)
        ):
            for layer, (matrices, statistics) in writers.items():
                state = states[layer]
                if item.utt not in matrices.done:
                    matrices.write(item.utt, state)
                if item.utt not in statistics.done:
                    statistics.write(item.utt, frame_statistics(state))
        for writer in tables:
            writer.sort(item.utt for item in items)
    write_text(
        out / "utt2num_frames", (f"{utt} {count}" for utt, count in sorted(frames.items(), key=lambda x: x[0].encode()))
    )
    write_text(out / "targets.json", [json.dumps(dataclasses.asdict(info))])


def _size(info: TargetsInfo, num_frames: int) -> int:
    """Bytes of an utterance in all tables: keys and heads, values, ``auto``'s four quantiles a column, statistics."""
    head, columns = 64, 8 * info.hidden_dim if info.compress == "auto" else 0
    layer = head + columns + num_frames * info.hidden_dim * _BYTES[info.compress]
    return len(info.layers) * (layer + head + 8 * (info.hidden_dim + 1))


def states_of(
    model: Any, items: Sequence[Located], info: TargetsInfo, batch_duration: float, device: str
) -> Iterator[tuple[Located, Mapping[int, np.ndarray]]]:
    """Each utterance and its states, {layer: float32 (T, H)}; those of a batch one after another.

    Args:
        model: the teacher, on *device*.
        items: utterances.
        info: what is wanted of it: layers, shortest duration, precision.
        batch_duration, device: as of :func:`extract_targets`.
    """
    min_samples = round(info.min_duration * SAMPLE_RATE)
    dtype = _DTYPES.get(info.precision)
    lower = nullcontext() if dtype is None else torch.autocast(torch.device(device).type, dtype)
    for batch in _batches(items, min_samples, round(batch_duration * SAMPLE_RATE), model.masks_padding):
        wavs = [
            torch.from_numpy(repeat_to(read_audio(item.wav, item.start, item.num_samples, item.utt), min_samples))
            for item in batch
        ]
        num_samples = [len(wav) for wav in wavs]
        padded = num_samples if len({*num_samples}) > 1 else None
        with torch.inference_mode(), lower:
            states = model(pad_sequence(wavs, batch_first=True).to(device), padded)
            kept = {layer: states[layer].float().cpu().numpy() for layer in info.layers}
        for row, (item, count) in enumerate(zip(batch, num_samples, strict=True)):
            frames = model.num_frames(count)
            yield item, {layer: state[row, :frames] for layer, state in kept.items()}


def _batches(items: Sequence[Located], least: int, most: int, mixed: bool) -> Iterator[list[Located]]:
    """Batches of at most *most* samples with padding, by length; utterances count *least* samples at least.

    Args:
        items: utterances.
        least: samples.
        most: samples; 0: every utterance is a batch, in the order of *items*.
        mixed: whether a batch may be of different lengths.
    """
    if not most:
        yield from ([item] for item in items)
        return
    batch: list[Located] = []
    for item in sorted(items, key=lambda item: item.num_samples):
        size = max(item.num_samples, least)
        another_length = batch and size != max(batch[0].num_samples, least)
        if batch and ((len(batch) + 1) * size > most or (another_length and not mixed)):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
