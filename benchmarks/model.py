"""Whole models end to end, wav to embedding, in seconds of audio per second.

    python benchmarks/model.py [--threads 1 2] [--batches 1 8] [--seconds 60]

Windows of 3 s through the teacher WavLM-Large with ECAPA-TDNN (random weights of that architecture; nothing is
downloaded), the student of five Transformer layers and the SV-Mixers of conf/distill_sv_mixer.yaml and
conf/distill_sv_mixer_slim.yaml, in one run and taking turns. "as trained" is the model that distill trains, the others
are what extraction uses, SpeakerModel.for_inference. One thread is timed by its processor time. Exit status 1 where a
goal is missed, with a profile of the model that missed it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from _timing import machine, side_by_side
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from svtk.config import load_config
from svtk.models.speaker_model import ModelConfig, SpeakerModel, StudentSpec, build_model
from svtk.registry import configure

CONF = Path(__file__).resolve().parents[1] / "conf"
WINDOW, SAMPLES = 3.0, 48_000
#: (contestant, at least so many times as fast as, that contestant)
GOALS = [
    ("SV-Mixer", 4.5, "teacher"),
    ("SV-Mixer", 1.2, "Transformer student"),
    ("SV-Mixer, slim", 8.0, "teacher"),
    ("SV-Mixer, bfloat16", 8.0, "teacher"),
]


class WavLMLarge(nn.Module):
    """WavLM-Large's architecture with random weights: wav (B, N) to 25 hidden states (B, T, 1024)."""

    hidden_dim, num_hidden = 1024, 25

    def __init__(self) -> None:
        super().__init__()
        from transformers import WavLMConfig, WavLMModel  # after svtk, which sees to torchaudio

        self.model = WavLMModel(
            WavLMConfig(
                hidden_size=1024,
                num_hidden_layers=24,
                num_attention_heads=16,
                intermediate_size=4096,
                feat_extract_norm="layer",
                do_stable_layer_norm=True,
            )
        )

    def num_frames(self, num_samples: int) -> int:
        return (num_samples - 400) // 320 + 1

    def forward(self, wav: Tensor) -> list[Tensor]:
        return list(self.model(wav, output_hidden_states=True).hidden_states)


def teacher() -> SpeakerModel:
    """WavLM-Large with ECAPA-TDNN."""
    backend = configure("backends", {"name": "ecapa_tdnn"})
    config = ModelConfig(kind="teacher", window=WINDOW, backend=backend.spec(), teacher={"name": "wavlm"})
    encoder = WavLMLarge()
    return SpeakerModel(config, encoder, backend.build(num_hidden=encoder.num_hidden, hidden_dim=1024)).eval()


def student(name: str) -> SpeakerModel:
    """The model of conf/distill_NAME.yaml, with random weights."""
    mapping = load_config(CONF / f"distill_{name}.yaml")
    parts = {key: mapping[key] for key in ("crop_duration", "frontend", "student", "backend")}
    return build_model(StudentSpec(**parts).model_config()).eval()


def contestants() -> dict[str, SpeakerModel]:
    sv_mixer, slim, transformer, large = (
        student("sv_mixer"),
        student("sv_mixer_slim"),
        student("transformer"),
        teacher(),
    )
    return {
        "teacher": large.for_inference(),
        "Transformer student": transformer.for_inference(),
        "SV-Mixer, as trained": sv_mixer,
        "SV-Mixer": sv_mixer.for_inference(),
        "SV-Mixer, slim": slim.for_inference(),
        "teacher, bfloat16": large.for_inference("bfloat16"),
        "Transformer student, bfloat16": transformer.for_inference("bfloat16"),
        "SV-Mixer, bfloat16": sv_mixer.for_inference("bfloat16"),
        "SV-Mixer, slim, bfloat16": slim.for_inference("bfloat16"),
    }


def show_profile(model: SpeakerModel, wav: Tensor) -> None:
    """Where the model's time goes: part by part, then by operator."""
    hidden = model.encode_window(wav)
    frames = model.encoder.frontend(wav)
    parts = {
        "frontend": lambda: model.encoder.frontend(wav),
        "student": lambda: model.encoder.student(frames),
        "backend": lambda: model.embed_hidden(hidden, wav),
    }
    times = side_by_side(parts, 1.0)
    print("  " + ", ".join(f"{name} {1e3 * seconds:.1f} ms" for name, seconds in times.items()))
    with profile(activities=[ProfilerActivity.CPU]) as events:
        model(wav)
    print(events.key_averages().table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=40))


def compare(models: dict[str, SpeakerModel], batch: int, seconds: float) -> bool:
    """Time one batch size; whether all goals are met."""
    wav = 0.1 * torch.randn(batch, SAMPLES)
    times = side_by_side({name: lambda model=model: model(wav) for name, model in models.items()}, seconds)
    for name, best in times.items():
        print(
            f"  {name:30} {batch * WINDOW / best:7.1f} s/s   {times['teacher'] / best:5.2f} × teacher"
            f"   {times['Transformer student'] / best:5.2f} × Transformer student"
        )
    all_met = True
    for name, goal, other in GOALS:
        ratio = times[other] / times[name]
        met = ratio >= goal
        print(f"  {name} ≥ {goal:g} × {other}: {ratio:.2f}, {'met' if met else 'missed'}", flush=True)
        if not met:
            show_profile(models[name], wav)
        all_met &= met
    return all_met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=60.0, help="for each pair of threads and batch")
    args = parser.parse_args()
    print(machine())
    torch.manual_seed(0)
    met = True
    with torch.inference_mode():
        models = contestants()
        for threads in args.threads:
            torch.set_num_threads(threads)
            for batch in args.batches:
                print(f"{threads} thread(s), batch {batch}")
                met &= compare(models, batch, args.seconds)
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
