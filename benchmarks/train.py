"""One step of distillation, part by part, and beside it the bare forward and backward passes of its models.

    python benchmarks/train.py [--paper] [--device cuda] [--batch-size 16] [--rounds 9] [--precision bf16] [--compile]

Random weights and random audio, from files on disk, with noise added: the demo's student under its small WavLM, or with
--paper the paper's SV-Mixer under a WavLM-Large. "step" is what svtk distill does for a batch: read and augment the
crops, move them, teacher, student, backend, losses, backward pass, clipping, optimiser, counting, log. "bare" is the
teacher's forward pass and the student's and backend's, there and back, on a batch that lies ready. Both are taken in
turn, round by round, and their ratio is of the same round, so that a busy machine slows both; medians of rounds are
printed. On a CPU with one thread (OMP_NUM_THREADS=1) it is processor time, which others' work disturbs least.
Data loading processes (--num-workers) read while the models compute, as in training. On a GPU, also the
largest batch that fits.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch.utils.data import DataLoader

from svtk.config import from_mapping, load_config
from svtk.data.augment import Augmenter
from svtk.data.crops import Batch, CropDataset, EpochSampler
from svtk.data.cuts import load_utterances
from svtk.kaldi.datadir import Utterance, write_data_dir
from svtk.models.speaker_model import build_model
from svtk.teachers import wavlm
from svtk.train.brain import Checkpoints, SpeakerBrain
from svtk.train.distill import DistillConfig, kd_components
from svtk.train.objective import Objective, align_frames, teacher_states
from svtk.train.options import resolve
from svtk.train.steps import StepSampler, TimedLoader

CONF = Path(__file__).resolve().parents[1] / "conf"
RATE = 16_000
WAVLM_LARGE = wavlm.NewModel(hidden_dim=1024, num_layers=24, num_heads=16, ffn_dim=4096, conv_channels=512)


def make_corpus(root: Path, num_utts: int, num_spks: int) -> tuple[str, str]:
    """A data directory of random audio of 4 s, and a noise directory."""
    rng = np.random.default_rng(0)

    def data_dir(name: str, count: int) -> str:
        (root / name).mkdir(parents=True)
        utterances = []
        for i in range(count):
            wav = root / name / f"{i:05}.wav"
            soundfile.write(wav, 0.1 * rng.standard_normal(4 * RATE), RATE)
            spk = f"s{i % num_spks:04}"
            utterances.append(Utterance(f"{spk}-{i:05}", spk, str(wav), f"{spk}-{i:05}", duration=4.0))
        return str(write_data_dir(root / "data" / name, utterances).path)

    train = data_dir("train", num_utts)
    for kind in ("noise", "music", "speech"):
        data_dir(f"noise/{kind}", 4)
    return train, str(root / "data/noise")


def make_brain(options: argparse.Namespace, root: Path) -> tuple[SpeakerBrain, DataLoader]:
    """A distillation over random audio that is ready for its first step."""
    mapping = load_config(CONF / ("distill_sv_mixer.yaml" if options.paper else "demo_distill_sv_mixer.yaml"))
    changes = {
        **{"batch_size": options.batch_size, "precision": options.precision, "compile": options.compile},
        **{"activation_checkpointing": options.activation_checkpointing, "max_epochs": 10**6},
    }
    config = from_mapping(DistillConfig, {**mapping, **changes})
    torch.manual_seed(0)
    teacher = wavlm.create(WAVLM_LARGE if options.paper else wavlm.NewModel())
    teacher.requires_grad_(False).eval()
    model = build_model(config.model_config())
    wiring = {
        **{"student_dim": model.encoder.hidden_dim, "teacher_dim": teacher.hidden_dim},
        **{"num_student_hidden": model.encoder.num_hidden, "num_teacher_hidden": teacher.num_hidden},
    }
    losses = [(part.name, weight, part.build(**wiring)) for weight, part in kd_components(config)]
    train, noise = make_corpus(root, 2 * options.batch_size, options.num_spks)
    dataset = CropDataset(load_utterances(train), config.crop_samples, augmenter=Augmenter(noise, config.augment))
    sv_loss = resolve(config)[0]["sv_loss"].build(embedding_dim=model.embedding_dim, num_spks=len(dataset.speakers))
    brain = SpeakerBrain(
        objective=Objective(model, sv_loss, config.sv_weight, losses),
        sampler=StepSampler(EpochSampler(dataset, config.batch_size)),
        validation=None,
        options=config,
        checkpoints=Checkpoints(),
        seed=0,
        device=options.device,
        directory=root / "model",
        teacher=teacher,
    )
    brain.on_fit_start()
    brain.modules.train()
    loader = DataLoader(
        dataset, batch_sampler=brain.sampler, collate_fn=dataset.collate, num_workers=options.num_workers
    )
    return brain, loader


def endless(brain: SpeakerBrain, loader: DataLoader) -> Iterator[Batch]:
    """Batches of one epoch after another."""
    epoch = 0
    while True:
        epoch, brain.state.step = epoch + 1, 0
        brain.on_stage_start(None, epoch)
        yield from TimedLoader(loader)


def bare(brain: SpeakerBrain, batch: Batch) -> None:
    """The models' forward passes, and the student's and backend's backward pass."""
    with brain.training_ctx:
        with torch.no_grad():
            brain.teacher(batch.clean)
        hidden, embedding = brain.model(batch.wav)
        total = hidden[-1].float().mean() + embedding.float().mean()
    brain.scaler.scale(total).backward()
    brain.optimizer.zero_grad(set_to_none=True)


def step(brain: SpeakerBrain, batches: Iterator[Batch]) -> None:
    """What training does for a batch."""
    batch = next(batches)
    brain.step += 1
    brain.fit_batch(batch)
    brain.state.step += 1
    brain.log.step(brain.state, 0.0, 0.0, brain._mean_losses)


def parts(brain: SpeakerBrain, batches: Iterator[Batch], clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of each part of a step, one after another."""
    objective, model, marks = brain.objective, brain.model, [("", clock())]

    def mark(name: str) -> None:
        marks.append((name, clock()))

    batch = next(batches)
    mark("data")
    batch = batch.to(brain.device)
    mark("move to the device")
    with brain.training_ctx:
        states = teacher_states(brain.teacher, batch, objective.teacher_layers, model.window_frames)
        mark("teacher forward")
        hidden = model.encode_window(batch.wav)
        mark("student forward")
        embedding = model.embed_hidden(hidden, batch.wav)
        mark("backend forward")
        mine, theirs = align_frames(hidden, states)
        losses = {"sv": objective.sv_loss(embedding, batch.label)}
        losses |= {n: loss(mine, theirs) for n, loss in zip(objective.kd_weights, objective.kd_losses, strict=True)}
        total = objective.total(losses)
        mark("losses")
    brain.scaler.scale(total).backward()
    mark("backward")
    brain._step_sums = {name: value.detach().double() for name, value in losses.items()}
    brain.optimizers_step()
    mark("clip, optimiser, count")
    return {name: end - begin for (_, begin), (name, end) in zip(marks, marks[1:], strict=False)}


def largest_batch(brain: SpeakerBrain, batch: Batch) -> int:
    """Crops of a step that the GPU's memory holds, to an eighth."""

    def fits(size: int) -> bool:
        repeats = -(-size // len(batch.label))
        wav = batch.wav.repeat(repeats, 1)[:size]
        many = Batch(wav, wav, batch.label.repeat(repeats)[:size], None, None, [0] * size)
        try:
            brain.step += 1
            brain.fit_batch(many)
            torch.cuda.synchronize()
            return True
        except torch.OutOfMemoryError:
            return False
        finally:
            brain.optimizer.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()

    size = len(batch.label)
    while fits(2 * size):
        size *= 2
    for eighth in range(7, 0, -1):
        if fits(size + eighth * size // 8):
            return size + eighth * size // 8
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paper", action="store_true", help="the paper's student and a WavLM-Large")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--num-spks", type=int, default=32)
    parser.add_argument("--num-workers", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--activation-checkpointing", action="store_true")
    options = parser.parse_args()

    def clock() -> float:
        if options.device.startswith("cuda"):
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()

    def seconds(work: Callable[[], None]) -> float:
        begin = clock()
        work()
        return clock() - begin

    with tempfile.TemporaryDirectory() as root:
        brain, loader = make_brain(options, Path(root))
        batches = endless(brain, loader)
        ready = next(batches).to(brain.device)
        for _ in range(2):
            step(brain, batches)
            bare(brain, ready)
        rounds = []
        for _ in range(options.rounds):
            taken = parts(brain, batches, clock)
            rounds.append(
                {**taken, "bare": seconds(lambda: bare(brain, ready)), "step": seconds(lambda: step(brain, batches))}
            )
        print(f"{'part':<24}{'ms':>10}  of bare")
        for name in rounds[0]:
            median = statistics.median(found[name] for found in rounds)
            ratio = statistics.median(found[name] / found["bare"] for found in rounds)
            print(f"{name:<24}{1000 * median:>10.1f}  {ratio:.3f}")
        print(f"crops per second: {options.batch_size / statistics.median(found['step'] for found in rounds):.1f}")
        print(f"overhead of a step: {100 * (statistics.median(r['step'] / r['bare'] for r in rounds) - 1):.1f} %")
        if options.device.startswith("cuda"):
            print(f"largest batch: {largest_batch(brain, ready)}")
        brain.log.close()


if __name__ == "__main__":
    main()
