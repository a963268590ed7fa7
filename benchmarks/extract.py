"""extract-embeddings side by side with its model alone, and its memory over a short and a long list.

    python benchmarks/extract.py [--utts 60] [--lists 400 4000] [--corpus DATA_DIR] [--model MODEL_DIR]

Speed: in one process, by turns, the model alone on windows that lie ready in memory (``encode_window`` and
``embed_hidden``, in batches of 1 and 8, by torch's own threads), and all that the verb does, from audio files to a
table. The best of the rounds of each; exit status 1 when the verb is below --min-ratio of the better batch size alone.

Memory: the verb in a process of its own, with a small model, over lists of the same files repeated; exit status 1
when the peak over the longer is more than --max-growth above that of the shorter.
"""

from __future__ import annotations

import argparse
import itertools
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from svtk.data.audio import read_audio, repeat_to
from svtk.extract.embeddings import extract_embeddings
from svtk.kaldi.datadir import read_data_dir
from svtk.models.speaker_model import SpeakerModel, StudentSpec, build_model, load_model, save_model

SMALL = StudentSpec(
    crop_duration=1.5,
    frontend={"name": "waveform_conv", "channels": 32, "kernels": [40, 16, 4, 4], "strides": [10, 8, 2, 2]},
    student={"name": "sv_mixer", "num_layers": 1, "hidden_dim": 32, "group_dim": 8, "expansion": 2},
    backend={"name": "linear"},
)


def files_of(corpus: str | None, number: int, folder: Path) -> list[str]:
    """Audio files of 2 to 6 s: those of a data directory, or noise as 16-bit WAV."""
    if corpus is not None:
        return [u.wav for u in read_data_dir(corpus).utterances[:number]]
    rng, wavs = np.random.default_rng(1), []
    for index in range(number):
        wavs.append(f"{folder}/{index}.wav")
        soundfile.write(wavs[-1], 0.1 * rng.standard_normal(rng.integers(32_000, 96_000)), 16_000)
    return wavs


def script_of(wavs: list[str], number: int, path: Path) -> str:
    """The rspecifier of a wav.scp of *number* utterances, the files over and over."""
    repeated = itertools.islice(itertools.cycle(wavs), number)
    path.write_text("".join(f"u{index:07} {wav}\n" for index, wav in enumerate(repeated)))
    return f"scp:{path}"


@torch.inference_mode()
def alone(model: SpeakerModel, wavs: list[torch.Tensor], batch_size: int) -> float:
    """Seconds that the model takes for windows that lie ready and, utterance by utterance, the backend."""
    size = model.window_samples
    windows = [wav[start : start + size] for wav in wavs for start in model.cover_starts(len(wav))]
    batches = torch.stack(windows).split(batch_size)
    start = time.perf_counter()
    hidden = [model.encode_window(batch) for batch in batches]
    states = [torch.cat(parts).flatten(0, 1) for parts in zip(*hidden, strict=True)]
    first = 0
    for wav in wavs:
        frames = model.num_frames(len(wav))  # as many, of whatever windows
        model.embed_hidden([state[None, first : first + frames] for state in states], wav[None])
        first += frames
    return time.perf_counter() - start


def speed(args: argparse.Namespace, folder: Path) -> float:
    """Print real-time factors; returns the verb's speed over that of the model alone."""
    torch.manual_seed(1)
    if args.model is None:
        save_model(build_model(StudentSpec().model_config()), folder / "model")
    model_dir = args.model or str(folder / "model")
    wavs = files_of(args.corpus, args.utts, folder)
    source = script_of(wavs, args.utts, folder / "wav.scp")
    model = load_model(model_dir).for_inference()
    ready = [torch.from_numpy(repeat_to(read_audio(wav), model.window_samples)) for wav in wavs]
    seconds = sum(soundfile.info(wav).duration for wav in wavs)
    times: dict[str, list[float]] = {}
    for number in range(args.rounds):
        for batch_size in (1, 8):
            times.setdefault(f"model alone, batch {batch_size}", []).append(alone(model, ready, batch_size))
        start = time.perf_counter()
        extract_embeddings(model_dir, source, f"ark:{folder}/{number}.ark")
        times.setdefault("extract-embeddings", []).append(time.perf_counter() - start)
    print(f"{args.utts} utterances, {seconds:.0f} s of audio, {torch.get_num_threads()} thread(s)")
    for name, found in times.items():
        print(f"{name:24} {min(found):7.2f} s  real-time factor {min(found) / seconds:.4f}")
    verb = min(times.pop("extract-embeddings"))
    ratio = min(map(min, times.values())) / verb
    print(f"extract-embeddings reaches {ratio:.0%} of the model alone (at least {args.min_ratio:.0%})")
    return ratio


def memory(args: argparse.Namespace, folder: Path) -> float:
    """Print the peak memory over lists of two lengths; returns by how much the longer one's is above the other's."""
    torch.manual_seed(1)
    save_model(build_model(SMALL.model_config()), folder / "small")
    wavs, peaks = files_of(args.corpus, 200, folder), []
    for number in args.lists:
        source = script_of(wavs, number, folder / "long.scp")
        words = [sys.executable, __file__, "--measure", str(folder / "small"), source, f"ark:{folder}/{number}.ark"]
        start = time.perf_counter()
        peaks.append(int(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout) / 2**10)
        print(f"{number} utterances: peak {peaks[-1]:.0f} MiB, {time.perf_counter() - start:.1f} s", flush=True)
    growth = peaks[-1] / peaks[0] - 1
    print(f"peak grows by {growth:.1%} (at most {args.max_growth:.0%})")
    return growth


def main() -> int:
    """Run and print; 0 when within the limits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utts", type=int, default=60)
    parser.add_argument("--lists", type=int, nargs=2, default=[400, 4000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--corpus", metavar="DATA_DIR", help="audio files of this directory [noise]")
    parser.add_argument("--model", metavar="MODEL_DIR", help="[the paper's student, untrained]")
    parser.add_argument("--min-ratio", type=float, default=0.9)
    parser.add_argument("--max-growth", type=float, default=0.1)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        extract_embeddings(*args.measure)
        print(
            re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]
        )  # ru_maxrss begins with the parent's
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        growth = memory(args, folder)
        ratio = speed(args, folder)
    return int(ratio < args.min_ratio or growth > args.max_growth)


if __name__ == "__main__":
    sys.exit(main())
