"""One training run in its MODEL_DIR: refuse a mix-up, resume, train, keep the best, finish whole."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from svtk.config import save_yaml
from svtk.data.augment import Augmenter
from svtk.data.crops import CropDataset, EpochSampler, collate
from svtk.data.cuts import load_cuts
from svtk.errors import ModelError
from svtk.kaldi.datadir import write_lines
from svtk.models.speaker_model import SpeakerModel, save_model
from svtk.train.brain import SpeakerBrain
from svtk.train.options import TrainOptions

__all__ = ["already_trained", "crop_dataset", "train"]

log = logging.getLogger(__name__)


def already_trained(directory: Path, run: dict[str, Any]) -> bool:
    """Whether MODEL_DIR holds the finished model of *this* run; notes the run in ``run.yaml`` when it is new.

    Args:
        directory: MODEL_DIR.
        run: the verb, its resolved configuration, seed and inputs.

    Raises:
        ModelError: the directory holds another run, finished or not.
    """
    note = directory / "run.yaml"
    if note.exists():
        from svtk.config import load_yaml

        earlier = load_yaml(note)
        if earlier != json.loads(json.dumps(run)):
            differing = sorted(_differences(earlier, json.loads(json.dumps(run))))
            raise ModelError(
                "the directory holds a run with other settings",
                path=directory,
                found=f"a difference in {', '.join(differing[:3])}",
                mend="choose another MODEL_DIR, or remove this one to start afresh",
            )
        if (directory / "model.safetensors").exists():
            log.info("%s: already trained with these settings; nothing to do", directory)
            return True
    else:
        if (directory / "model.safetensors").exists():
            raise ModelError(
                "the directory holds a model that was not trained by this verb",
                path=directory,
                mend="choose another MODEL_DIR",
            )
        directory.mkdir(parents=True, exist_ok=True)
        save_yaml(json.loads(json.dumps(run)), note)
    return False


def _differences(left: Any, right: Any, where: str = "") -> list[str]:
    if isinstance(left, dict) and isinstance(right, dict):
        found = []
        for key in {*left, *right}:
            found += _differences(left.get(key), right.get(key), f"{where}.{key}" if where else str(key))
        return found
    return [] if left == right else [where]


def crop_dataset(
    data_dir: str, options: TrainOptions, seed: int, noise: str | None, **teacher_side: Any
) -> CropDataset:
    """Training crops of a data directory under *options*; *teacher_side* as :class:`CropDataset` has it."""
    return CropDataset(
        load_cuts(data_dir),
        options.crop_samples,
        grid=options.crop_grid,
        seed=seed,
        augmenter=Augmenter(noise, options.augment) if noise else None,
        cache=options.cache_audio,
        **teacher_side,
    )


def train(brain: SpeakerBrain, directory: Path, save: Callable[[SpeakerModel, Path], None] = save_model) -> None:
    """Run *brain* to its end, taking up where an earlier run stopped, and save its best model.

    Writes ``train.json`` (seed, epochs, seconds, best, history), then the model by *save*; the checkpoints,
    which only a resume needs, are removed last.
    """
    sampler = EpochSampler(brain.dataset, brain.options.batch_size)
    brain.steps_per_epoch = len(sampler)
    loader = DataLoader(brain.dataset, batch_sampler=sampler, collate_fn=collate, num_workers=brain.options.num_workers)
    log.info(
        "%d utterances of %d speakers, %d steps an epoch",
        len(brain.dataset),
        len(brain.dataset.speakers),
        len(sampler),
    )
    brain.fit(brain.epochs(), loader, progressbar=sys.stderr.isatty())
    brain.finish()
    state = brain.state
    summary = {
        "seed": brain.seed,
        "epochs": state.epoch,
        "seconds": round(state.seconds, 1),
        "best_epoch": state.best_epoch,
        "valid_eer": state.best_eer,
        "history": state.history,
    }
    write_lines(directory / "train.json", [json.dumps(summary, indent=1)])
    save(brain.modules.model, directory)
    shutil.rmtree(directory / "checkpoints", ignore_errors=True)
    log.info("%s: best valid EER %.2f %% after epoch %d", os.fspath(directory), 100 * state.best_eer, state.best_epoch)
