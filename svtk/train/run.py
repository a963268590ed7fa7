"""One training run in its MODEL_DIR: refuse a mix-up, resume, train, keep the best, finish whole."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from torch import nn
from torch.utils.data import DataLoader

from svtk.config import load_yaml, save_yaml, to_mapping
from svtk.data.augment import Augmenter
from svtk.data.crops import CropDataset, EpochSampler, HiddenCrops
from svtk.data.cuts import load_utterances
from svtk.data.speech_spans import speech_identity
from svtk.data.utterances import Utterances
from svtk.errors import ConfigError, ModelError
from svtk.fingerprint import sha256_of_files, sha256_of_json
from svtk.kaldi.text import write_text
from svtk.models.speaker_model import SpeakerModel, located, save_model
from svtk.models.teacher import teacher_spec
from svtk.registry import Component
from svtk.train import parallel
from svtk.train.brain import SpeakerBrain
from svtk.train.checkpointer import Checkpoints
from svtk.train.classifier import save_classifier
from svtk.train.directory_lock import DirectoryLock
from svtk.train.hidden_cache import cache_hidden
from svtk.train.objective import Objective
from svtk.train.options import FrozenEncoderOptions, TrainOptions
from svtk.train.steps import StepSampler
from svtk.train.validation import Validation

__all__ = ["Run"]

log = logging.getLogger(__name__)

#: settings that change how a run goes, or where it gives up, not what it learns: a resume may change them
_HOW_IT_RUNS = {
    f"config.{name}"
    for name in (
        *("num_workers", "cache_audio", "grad_accumulation", "activation_checkpointing", "compile"),
        "nonfinite_patience",
    )
}
#: the files that tell one data directory, model or set of teacher targets from another
_IDENTITY = (
    *("wav.scp", "segments", "utt2spk", "*/wav.scp"),
    *("targets.json", "config.yaml", "config.json", "*.safetensors", "pytorch_model*.bin", "encoder/*.safetensors"),
)


@dataclasses.dataclass(frozen=True)
class Run:
    """Where a training run reads and writes; how it trains is its configuration's business.

    Attributes:
        train_dir, valid_dir: data directories.
        valid_trials: labelled trials over *valid_dir*.
        model_dir: output; a rerun resumes, or finds it done.
        noise: output of prepare-noise for augmentation, or None.
        seed: of initialisation, crops, augmentation and dropout.
        device: torch device; ``cuda`` is this process's own GPU where torchrun started several.
        checkpoint_interval, checkpoint_steps, keep_checkpoints: minutes, steps and keep of :class:`Checkpoints`.
        tensorboard: whether to log for TensorBoard.
        vad: train and validate on speech only, by the ``vad.scp`` of both directories.
    """

    train_dir: str
    valid_dir: str
    valid_trials: str
    model_dir: str
    noise: str | None = None
    seed: int = 0
    device: str = "cpu"
    checkpoint_interval: float = Checkpoints.minutes
    checkpoint_steps: int = Checkpoints.steps
    keep_checkpoints: int = Checkpoints.keep
    tensorboard: bool = True
    vad: bool = False
    _lock: DirectoryLock = dataclasses.field(default_factory=DirectoryLock, init=False, repr=False, compare=False)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Within the block, what :meth:`finished` locks stays locked."""
        try:
            yield
        finally:
            self._lock.release()

    @property
    def directory(self) -> Path:
        """MODEL_DIR as a path."""
        return Path(self.model_dir)

    def finished(self, verb: str, config: dict[str, Any], **inputs: str | dict[str, str] | None) -> bool:
        """Whether MODEL_DIR holds the finished model of *this* run; notes the run in ``run.yaml`` when it is new.

        The note of a run that failed before its first checkpoint gives way to any other. Of several processes the
        first looks and notes. From here to the end of :meth:`alone` no other run gets into MODEL_DIR.

        Args:
            verb: ``distill``, ``train-teacher`` ...
            config: resolved configuration.
            inputs: what the verb reads beside the data (teacher, student ...): a path, or ``path`` and ``sha256``.

        Raises:
            ModelError: the directory holds another run, finished or not, or another process is at work there.
        """
        return parallel.on_main(lambda: self._finished(verb, config, inputs))

    def _finished(self, verb: str, config: dict[str, Any], inputs: dict[str, str | dict[str, str] | None]) -> bool:
        inputs = {
            "train": self.train_dir,
            "valid": self.valid_dir,
            "valid_trials": self.valid_trials,
            "noise": self.noise,
            **inputs,
        }
        identities = {
            name: given if isinstance(given, dict) else {"path": given, "sha256": _identity(given)}
            for name, given in inputs.items()
            if given
        }
        if self.vad:
            for name in ("train", "valid"):
                identities[f"{name}_vad"] = speech_identity(inputs[name])
        run = {"verb": verb, "seed": self.seed, "inputs": identities, "config": config}
        run = json.loads(json.dumps(run))  # as YAML reads it back
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock.acquire(self.directory)
        note, model = self.directory / "run.yaml", self.directory / "model.safetensors"
        begun = model.exists() or any((self.directory / "checkpoints").glob("CKPT+*"))
        if begun and note.exists():
            known = load_yaml(note)
            known["config"] = _completed(known.get("config", {}), to_mapping(TrainOptions()), run["config"])
            found = {name.removesuffix(".path").removesuffix(".sha256") for name in _differences(known, run)}
            differing = sorted(found - _HOW_IT_RUNS)
            if differing:
                raise ModelError(
                    "the directory holds a run with other settings",
                    path=self.directory,
                    found=f"a difference in {', '.join(differing[:3])}",
                    mend="choose another MODEL_DIR, or remove this one to start afresh",
                )
            if model.exists():
                log.info("%s: already trained with these settings; nothing to do", self.directory)
            return model.exists()
        if model.exists():
            raise ModelError(
                "the directory holds a model of unknown origin", path=self.directory, mend="choose another MODEL_DIR"
            )
        save_yaml(run, note)
        return False

    def crops(self, options: TrainOptions, **teacher_side: Any) -> CropDataset:
        """The training crops under *options*; *teacher_side* as :class:`CropDataset` has it."""
        return CropDataset(
            self._train_items(),
            options.crop_samples,
            grid=options.crop_grid,
            seed=self.seed,
            augmenter=Augmenter(self.noise, options.augment) if self.noise or options.augment.distort.prob else None,
            cache=options.cache_audio,
            shuffle_buffer=options.shuffle_buffer,
            perturbation=options.augment.speed,
            **teacher_side,
        )

    def frozen_encoder_crops(self, model: SpeakerModel, options: FrozenEncoderOptions) -> CropDataset | HiddenCrops:
        """Training crops for the backend of *model*, whose encoder is frozen: of audio, or of cached hidden states.

        Raises:
            ConfigError: the hidden states do not fit into the memory that is free, or are not all that the backend
                hears.
        """
        if not options.cache_hidden:
            return self.crops(options)
        if options.augment.speed.factors:
            raise ConfigError(
                "cached hidden states are of the utterances at their own speed",
                found=f"augment.speed.factors {list(options.augment.speed.factors)}, "
                f"cache_hidden {options.cache_hidden}",
                mend="set cache_hidden=0, or leave augment.speed out",
            )
        if model.backend.needs_wav:
            raise ConfigError(
                "the backend hears the wav, which cached hidden states do not keep",
                found=f"backend {model.config.backend['name']}, cache_hidden {options.cache_hidden}",
                mend="set cache_hidden=0",
            )
        augmenter = None
        if self.noise and options.cache_hidden > 1:
            augmenter = Augmenter(self.noise, dataclasses.replace(options.augment, prob=1.0))
        model.to(parallel.join(self.device)).eval()
        return cache_hidden(model, self._train_items(), options.cache_hidden, augmenter, self.seed)

    def _train_items(self) -> Utterances:
        with parallel.main_first():  # which may make the manifest
            return load_utterances(self.train_dir, speech_only=self.vad)

    def train(
        self,
        model: SpeakerModel,
        dataset: CropDataset | HiddenCrops,
        sv_loss: Component,
        options: TrainOptions,
        *,
        save: Callable[[SpeakerModel, Path], None] = save_model,
        start: Callable[[nn.Module, SpeakerModel, DataLoader, list[str]], None] | None = None,
        teacher: nn.Module | None = None,
        **losses: Any,
    ) -> None:
        """Train *model* to its end, taking up where an earlier run stopped, and save its best weights.

        Writes ``train.json`` (seed, epochs, seconds, best, history), the speaker classes of a trained SV loss, then
        the model by *save*; the checkpoints, which only a resume needs, are removed last. Where torchrun started
        several processes, each computes its part of every batch, and the first one writes.

        Args:
            model: what is trained.
            dataset: from :meth:`crops`.
            sv_loss: built here, for the dataset's speakers.
            options: training options.
            save: writes the model to MODEL_DIR.
            start: sets the speaker classes before the first step of all, given the SV loss, the model, a loader of
                crops and the speakers.
            teacher: frozen teacher for targets on the fly, or None.
            losses: ``kd_losses`` and ``sv_weight`` of :class:`Objective`.
        """
        device = parallel.join(self.device)
        with parallel.main_first():
            validation = Validation(self.valid_dir, self.valid_trials, self.vad)
        _warn_of_lone_utterances(dataset)
        loss = sv_loss.build(embedding_dim=model.embedding_dim, num_spks=len(dataset.speakers))
        batches = EpochSampler(dataset, options.batch_size)
        brain = SpeakerBrain(
            objective=Objective(model, loss, **losses),
            sampler=StepSampler(batches, options.grad_accumulation, parallel.world_size(), parallel.rank()),
            validation=validation,
            options=options,
            checkpoints=Checkpoints(self.checkpoint_interval, self.checkpoint_steps, self.keep_checkpoints),
            seed=self.seed,
            device=device,
            directory=self.directory,
            teacher=teacher,
            tensorboard=self.tensorboard,
        )
        loading = {
            "collate_fn": dataset.collate,
            "num_workers": options.num_workers,
            "pin_memory": device.startswith("cuda"),
        }
        size = len(dataset), len(dataset.speakers), len(batches), parallel.world_size()
        log.info("%d utterances of %d speakers, %d steps an epoch, %d process(es)", *size)
        if start is not None and not brain.has_checkpoint:
            all_crops = DataLoader(dataset, batches.batch_size, sampler=dataset.order().tolist(), **loading)
            start(loss, model, all_crops, dataset.speakers)
        loading["persistent_workers"] = options.num_workers > 0
        brain.fit(brain.epochs(), DataLoader(dataset, batch_sampler=brain.sampler, **loading))
        eer = brain.finish()
        if parallel.is_main():
            self._write(brain, eer, dataset.speakers, save)

    def _write(
        self, brain: SpeakerBrain, eer: float, speakers: list[str], save: Callable[[SpeakerModel, Path], None]
    ) -> None:
        state = brain.state
        summary = {
            "seed": self.seed,
            "epochs": state.epoch,
            "seconds": round(state.seconds, 1),
            "best_epoch": state.best_epoch,
            "valid_eer": eer,
            "history": state.history,
        }
        write_text(self.directory / "train.json", [json.dumps(summary, indent=1)])
        try:
            if brain.objective.sv_weight:
                save_classifier(brain.objective.sv_loss, speakers, self.directory)
            save(brain.model, self.directory)
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"cannot write the model: {error}",
                path=self.directory,
                mend="make room and run again: training is done, and its last checkpoints are kept",
            ) from error
        shutil.rmtree(self.directory / "checkpoints", ignore_errors=True)
        best = 100 * state.best_eer, state.best_epoch
        log.info("%s: best valid EER %.2f %% after epoch %d", os.fspath(self.directory), *best)


def _warn_of_lone_utterances(dataset: CropDataset | HiddenCrops) -> None:
    counts = np.bincount(dataset.labels)
    lone = [spk for spk, count in zip(dataset.speakers, counts, strict=False) if count == 1]
    if lone:
        log.warning(
            "%d speaker(s) have one utterance, first %s: their class learns that recording, not their voice",
            len(lone),
            lone[0],
        )


def _identity(path: str) -> str | None:
    """SHA-256 of what makes a data directory, trial list, model or teacher targets what they are; None: a hub name.

    A YAML file of a teacher, or the MODEL_DIR of one whose encoder lies elsewhere, is what its encoder is, too.

    Raises:
        ConfigError, ModelError: a YAML file that is no teacher's.
    """
    source = Path(path)
    if source.suffix in (".yaml", ".yml"):
        spec = teacher_spec(source)
        return sha256_of_json({**spec, "source": _identity(spec["source"]) or spec["source"]})
    files = [source] if source.is_file() else sorted(file for name in _IDENTITY for file in source.glob(name))
    own = sha256_of_files(files) if files else None
    encoder = _encoder_elsewhere(source)
    return own if encoder is None else sha256_of_json([own, _identity(encoder)])


def _encoder_elsewhere(model_dir: Path) -> str | None:
    """Where the encoder lies that a teacher's MODEL_DIR only refers to, if that is what *model_dir* is."""
    file = model_dir / "config.yaml"
    teacher = load_yaml(file).get("teacher") if file.is_file() else None
    if not isinstance(teacher, dict) or "source" not in teacher:
        return None
    source = Path(located(teacher, model_dir)["source"])
    return str(source) if source.is_dir() and model_dir.resolve() not in source.resolve().parents else None


def _completed(found: dict, defaults: dict, wanted: dict) -> dict:
    """*found*, written before svtk knew all options of *wanted*, with these options' defaults, which change nothing."""
    result = {**{key: value for key, value in defaults.items() if key in wanted}, **found}
    for key, value in found.items():
        if all(isinstance(mapping.get(key), dict) for mapping in (found, defaults, wanted)):
            result[key] = _completed(value, defaults[key], wanted[key])
    return result


def _differences(left: Any, right: Any, where: str = "") -> list[str]:
    """Dotted names of what differs between two nested mappings."""
    if isinstance(left, dict) and isinstance(right, dict):
        if left.get("name") != right.get("name"):
            return [f"{where}.name"]  # another component: its options differ by that
        keys = {*left, *right}
        return [x for k in keys for x in _differences(left.get(k), right.get(k), f"{where}.{k}".lstrip("."))]
    return [] if left == right else [where]
