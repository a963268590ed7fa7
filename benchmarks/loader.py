"""Training crops a second: cut out of files as distill reads them, by reading whole files, and out of shards.

    python benchmarks/loader.py [--utterances 200] [--least 6] [--copies 3] [--seconds 5] [--sharded 2000] DATA_DIR

The first utterances of DATA_DIR of at least --least seconds are written as WAV, FLAC, Ogg Vorbis and Ogg Opus;
--copies joins so many of each, for longer recordings. Crops of 3 s are read in one random order from all formats in
turn, ten at a time, by seeking to the crop and by decoding the whole file and cutting it, in processor time of one
process; the fastest turn of each counts. Files are in the system's cache: it is the decoding that is timed, not the
disk. Then crops from WAV, each through one of the distortions (svtk/data/distort.py), beside those through none.

Last, --sharded utterances (the same again and again, each a file of its own) as FLAC files and as shards of 200, read
in the order of an epoch by one process, in turn, by the clock; before each turn the system is told to forget what it
holds of them ("cold"), or they were just read ("warm"). The fastest turn counts.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from svtk.data import SAMPLE_RATE
from svtk.data.audio import read_audio
from svtk.data.crops import CropDataset, EpochSampler
from svtk.data.cuts import load_utterances
from svtk.data.distort import CODECS, Config, distort
from svtk.errors import SvtkError
from svtk.kaldi.datadir import Utterance, write_data_dir
from svtk.prepare.shards import make_shards

CROP = 3 * SAMPLE_RATE
FORMATS = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "opus": "OPUS"}


def write_copies(data: str, root: Path, num_utts: int, least: float, copies: int) -> dict[str, list[tuple[str, int]]]:
    """For each format its files: (path, number of samples)."""
    items = [item for item in load_utterances(data) if item.num_samples >= least * SAMPLE_RATE][:num_utts]
    if not items:
        raise SystemExit(f"{data} has no utterance of {least} s")
    files: dict[str, list[tuple[str, int]]] = {name: [] for name in FORMATS}
    for item in items:
        samples = np.tile(read_audio(item.wav, item.start, item.num_samples, item.utt), copies)
        for name, subtype in FORMATS.items():
            path = str(root / f"{item.utt}.{name}")
            soundfile.write(path, samples, SAMPLE_RATE, subtype=subtype, format="OGG" if name == "opus" else None)
            files[name].append((path, len(samples)))
    return files


def fastest(contestants: dict, num_items: int, seconds: float, turn_size: int = 10) -> dict:
    """Items a second of each in its fastest turn; all take the same items in turn, for *seconds*, at least 3 turns."""
    best = dict.fromkeys(contestants, 0.0)
    stop, turn = time.perf_counter() + seconds, 0
    while turn < 3 or time.perf_counter() < stop:
        indices = [(turn * turn_size + i) % num_items for i in range(turn_size)]
        for name, run in contestants.items():
            start = time.process_time()
            for index in indices:
                run(index)
            best[name] = max(best[name], turn_size / (time.process_time() - start))
        turn += 1
    return best


def by_format(files: dict[str, list[tuple[str, int]]], seconds: float) -> dict[tuple[str, str], float]:
    """Crops a second for each (format, "crop" or "whole file")."""
    rng = np.random.default_rng(0)
    starts = [int(rng.integers(size - CROP + 1)) for _, size in files["wav"]]

    def crop(name: str) -> Callable[[int], np.ndarray]:
        return lambda i: read_audio(files[name][i][0], starts[i], CROP)

    def whole(name: str) -> Callable[[int], np.ndarray]:
        return lambda i: read_audio(files[name][i][0])[starts[i] : starts[i] + CROP]

    contestants = {(name, "crop"): crop(name) for name in files} | {(name, "whole file"): whole(name) for name in files}
    return fastest(contestants, len(starts), seconds)


def by_distortion(files: list[tuple[str, int]], seconds: float) -> dict[str, float]:
    """Crops a second from WAV files for each distortion, and for none."""
    configs = {"none": Config(), "clip": Config(1.0, ("clip",)), "coloured_noise": Config(1.0, ("coloured_noise",))}
    configs |= {codec: Config(1.0, ("codec",), (codec,)) for codec in CODECS}

    def distorted(config: Config) -> Callable[[int], np.ndarray]:
        return lambda i: distort(read_audio(files[i][0], 0, CROP), config, np.random.default_rng(i))

    return fastest({name: distorted(config) for name, config in configs.items()}, len(files), seconds)


def by_storage(files: list[tuple[str, int]], root: Path, num_utts: int, turns: int = 3) -> dict[tuple[str, str], float]:
    """Crops a second for each (storage, "cold" or "warm")."""
    (root / "flac").mkdir()
    utterances = []
    for index in range(num_utts):
        utt, (source, size) = f"s{index % 9}-{index:06d}", files[index % len(files)]
        copy = root / "flac" / f"{utt}.flac"
        shutil.copyfile(source, copy)
        utterances.append(Utterance(utt, utt[:2], str(copy), utt, duration=size / SAMPLE_RATE))
    make_shards(str(write_data_dir(root / "files", utterances).path), str(root / "shards"), per_shard=200)
    os.sync()
    stored = {"files": list((root / "flac").iterdir()), "shards": list((root / "shards/shards").glob("*.tar"))}
    datasets = {name: CropDataset(load_utterances(root / name), CROP, shuffle_buffer=400) for name in stored}
    best = dict.fromkeys(itertools.product(stored, ("cold", "warm")), 0.0)
    for turn in range(turns):
        for name, dataset in datasets.items():
            dataset.epoch = turn
            forget(stored[name])
            for state in ("cold", "warm"):
                start = time.perf_counter()
                for batch in EpochSampler(dataset, 50):
                    examples = dataset.__getitems__(batch)
                    if isinstance(examples, SvtkError):
                        raise examples
                best[name, state] = max(best[name, state], num_utts / (time.perf_counter() - start))
    return best


def forget(paths: list[Path]) -> None:
    """Tell the system to drop what it holds of these files in memory."""
    for path in paths:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA_DIR")
    parser.add_argument("--utterances", type=int, default=200)
    parser.add_argument("--least", type=float, default=6.0)
    parser.add_argument("--copies", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--sharded", type=int, default=2000)
    args = parser.parse_args()
    if args.least < 3 or args.copies < 1 or args.utterances < 1:
        parser.error("--least must be 3 or more, --copies and --utterances 1 or more")
    with tempfile.TemporaryDirectory() as root:
        files = write_copies(args.data, Path(root), args.utterances, args.least, args.copies)
        mean = sum(size for _, size in files["wav"]) / len(files["wav"]) / SAMPLE_RATE
        print(f"{len(files['wav'])} recordings of {mean:.1f} s on average\n")
        print("| format | crops/s | crops/s, whole files | ratio |\n|---|---:|---:|---:|")
        speeds = by_format(files, args.seconds)
        for name in FORMATS:
            crop, whole = speeds[name, "crop"], speeds[name, "whole file"]
            print(f"| {name} | {crop:.0f} | {whole:.0f} | {crop / whole:.2f} |")
        print("\n| distortion | crops/s | ÷ none |\n|---|---:|---:|")
        speeds = by_distortion(files["wav"], args.seconds)
        for name, speed in speeds.items():
            print(f"| {name} | {speed:.0f} | {speed / speeds['none']:.3f} |")
        print("\n| FLAC | cold, crops/s | warm, crops/s |\n|---|---:|---:|")
        speeds = by_storage(files["flac"], Path(root), args.sharded)
        for name in ("files", "shards"):
            print(f"| {name} | {speeds[name, 'cold']:.0f} | {speeds[name, 'warm']:.0f} |")


if __name__ == "__main__":
    main()
