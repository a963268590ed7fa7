"""The training loop of every verb: SpeechBrain's Brain with SV loss, KD losses, validation by EER, and resume."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import speechbrain as sb
import torch
from speechbrain.utils import checkpoints
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from svtk.data.crops import Batch, CropDataset, HiddenBatch, HiddenCrops
from svtk.data.cuts import load_cuts, locate
from svtk.errors import DataError, ModelError, SvtkError
from svtk.kaldi.trials import read_trials
from svtk.models.embedding import embed_utterances
from svtk.models.speaker_model import SpeakerModel
from svtk.score.cosine import cosine
from svtk.score.metrics import equal_error_rate, operating_points
from svtk.train.checkpointer import WholeCheckpointer
from svtk.train.options import TrainOptions

__all__ = ["SpeakerBrain", "TrainState", "Validation", "align_frames"]

log = logging.getLogger(__name__)

_CHECK_EVERY = 50  # steps between two looks at the loss, each of which waits for the device


def align_frames(student: list[Tensor], teacher: Mapping[int, Tensor]) -> tuple[list[Tensor], dict[int, Tensor]]:
    """Trim the last frame of the longer side: frontends differ by at most one frame (149 and 150 in 3 s).

    Raises:
        ModelError: the two differ by more.
    """
    mine = student[0].shape[1]
    theirs = {state.shape[1] for state in teacher.values()}
    if any(abs(mine - frames) > 1 for frames in theirs):
        raise ModelError(
            "student and teacher disagree on frames",
            found=f"{mine} and {sorted(theirs)}",
            expected="the same number, or one more",
        )
    frames = min(mine, *theirs)
    return [state[:, :frames] for state in student], {layer: state[:, :frames] for layer, state in teacher.items()}


class Validation:
    """EER on a labelled trial list over the utterances of a data directory.

    Args:
        data_dir: validation utterances.
        trials_path: labelled trials over them.

    Raises:
        DataError: unlabelled or empty list, or an utterance that the data directory lacks.
    """

    def __init__(self, data_dir: str, trials_path: str):
        trials = read_trials(trials_path)
        if trials.labels is None:
            raise DataError("validation trials need labels", path=trials_path, mend="make them with svtk make-trials")
        located = {item.utt: item for item in map(locate, load_cuts(data_dir))}
        for number, utts in enumerate(zip(trials.enroll, trials.test, strict=True), 1):
            for utt in utts:
                if utt not in located:
                    raise DataError(
                        f"{utt!r} is not in {data_dir}",
                        path=trials_path,
                        line=number,
                        mend="make the trials from this data directory",
                    )
        used = sorted({*trials.enroll, *trials.test})
        index = {utt: i for i, utt in enumerate(used)}
        self.items = [(utt, located[utt].wav, located[utt].start, located[utt].num_samples) for utt in used]
        self.enroll = np.array([index[utt] for utt in trials.enroll])
        self.test = np.array([index[utt] for utt in trials.test])
        self.labels = trials.labels

    def eer(self, model: SpeakerModel) -> float:
        """EER in [0, 1] of cosine scores; the model is left in evaluation mode."""
        model.eval()
        rows = np.stack([row for _, row in embed_utterances(model, self.items, batch_size=16)])
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        if not np.isfinite(rows).all():
            raise ModelError("validation embeddings are not finite", mend="lower lr")
        scores = cosine(rows, rows, self.enroll, self.test)
        return float(equal_error_rate(operating_points(scores, self.labels))[0])


@checkpoints.register_checkpoint_hooks
@dataclasses.dataclass
class TrainState:
    """What resuming needs beside weights and optimiser; one entry of ``history`` per finished epoch."""

    epoch: int = 0
    lr_scale: float = 1.0
    bad_since_lr: int = 0
    bad_since_best: int = 0
    best_eer: float = math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)

    def validated(self, eer: float, options: TrainOptions) -> None:
        """Count improvement or patience, and halve the rate when that is due (paper: after 5 without)."""
        if eer < self.best_eer:
            self.best_eer, self.best_epoch = eer, self.epoch
            self.bad_since_lr = self.bad_since_best = 0
            return
        self.bad_since_lr += 1
        self.bad_since_best += 1
        if options.schedule == "plateau" and self.bad_since_lr >= options.lr_patience:
            self.lr_scale *= options.lr_factor
            self.bad_since_lr = 0

    @checkpoints.mark_as_saver
    def _save(self, path: Path) -> None:
        Path(path).write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @checkpoints.mark_as_loader
    def _load(self, path: Path, end_of_epoch: bool) -> None:
        for key, value in json.loads(Path(path).read_text(encoding="utf-8")).items():
            setattr(self, key, value)


class SpeakerBrain(sb.Brain):
    """Student (or teacher) and backend under one SV loss and any number of KD losses (OS-KDFT).

    Every epoch draws its random numbers from (seed, epoch), so a run that was killed and resumed gives the
    weights of one that was not. A step does not wait for the device: losses are summed there and read every
    so many steps, and at the end of the epoch, before anything is saved.

    Args:
        model: what is trained; parts that must not learn are frozen by the caller.
        sv_loss: speaker loss, embeddings (B, E) and labels (B,) to a scalar.
        dataset: training crops.
        validation: gives the EER.
        options: training options.
        seed: of this run.
        device: torch device.
        directory: MODEL_DIR; checkpoints and the TensorBoard log go below it.
        kd_losses: ``(name, weight, loss)``; each loss maps student states and teacher states to a scalar; one of
            weight 0 is watched and learns nothing.
        teacher: frozen teacher for targets on the fly, or None.
        sv_weight: weight of the SV loss.
    """

    def __init__(
        self,
        *,
        model: SpeakerModel,
        sv_loss: nn.Module,
        dataset: CropDataset | HiddenCrops,
        validation: Validation,
        options: TrainOptions,
        seed: int,
        device: str,
        directory: Path,
        kd_losses: Sequence[tuple[str, float, nn.Module]] = (),
        teacher: nn.Module | None = None,
        sv_weight: float = 1.0,
    ):
        self.options, self.seed, self.state = options, seed, TrainState()
        self.dataset, self.validation, self.teacher = dataset, validation, teacher
        self.kd_weights = [(name, weight) for name, weight, _ in kd_losses]
        self.sv_weight = sv_weight
        modules = {"model": model, "sv_loss": sv_loss, "kd_losses": nn.ModuleList(loss for *_, loss in kd_losses)}
        learning = (
            {"model": model} if any(p.requires_grad for p in model.encoder.parameters()) else {"backend": model.backend}
        )
        if modules["kd_losses"].state_dict():
            learning["kd_losses"] = modules["kd_losses"]
        checkpointer = WholeCheckpointer(
            directory / "checkpoints", {**learning, "sv_loss": sv_loss, "state": self.state}
        )
        super().__init__(
            modules=modules,
            opt_class=lambda parameters: torch.optim.AdamW(
                [p for p in parameters if p.requires_grad], lr=options.lr, weight_decay=options.weight_decay
            ),
            run_opts={"device": device, "precision": options.precision, "max_grad_norm": options.max_grad_norm},
            checkpointer=checkpointer,
        )
        if teacher is not None:
            teacher.to(device)
        self.steps_per_epoch = 1
        self._sums: dict[str, Tensor] = {}
        self._writer = SummaryWriter(str(directory / "tensorboard"))

    @property
    def has_checkpoint(self) -> bool:
        """Whether an earlier run has left something to resume from."""
        return self.checkpointer.find_checkpoint() is not None

    def epochs(self) -> Iterator[int]:
        """Epochs still to do, counted from 1."""
        while self.state.epoch < self.options.max_epochs:
            if self.state.bad_since_best >= self.options.stop_patience:
                log.info("no improvement in %d validations: stopping", self.state.bad_since_best)
                return
            yield self.state.epoch + 1

    def compute_forward(self, batch: Batch | HiddenBatch, stage: sb.Stage) -> tuple[list[Tensor], Tensor]:
        if isinstance(batch, HiddenBatch):
            return batch.hidden, self.modules.model.backend(batch.hidden)
        return self.modules.model(batch.wav)

    def fit_batch(self, batch: Batch | HiddenBatch | SvtkError) -> Tensor:
        """One step, the loss being left on its device (SpeechBrain's reads it back three times).

        Raises:
            SvtkError: the batch could not be made.
        """
        if isinstance(batch, SvtkError):
            raise batch
        batch = batch.to(self.device)
        rate = self.learning_rate(self.state.epoch + 1, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self.training_ctx:
            loss = self.compute_objectives(self.compute_forward(batch, sb.Stage.TRAIN), batch, sb.Stage.TRAIN)
        self.scaler.scale(loss).backward()
        self.optimizers_step()
        return loss.detach()

    def update_average(self, loss: Tensor, avg_loss: float) -> float:
        """The mean loss of the epoch so far, as the progress bar shows it, renewed every so many steps."""
        return self._finite_loss() / self.step if self.step % _CHECK_EVERY == 1 else avg_loss

    def _finite_loss(self) -> float:
        """The sum of the epoch's losses.

        Raises:
            ModelError: it is not finite.
        """
        total = self._sums["loss"].item()
        if not math.isfinite(total):
            raise ModelError(
                f"the loss is {total} in epoch {self.state.epoch + 1}", mend="lower lr; the last checkpoint is kept"
            )
        return total

    @torch.no_grad()
    def teacher_states(self, batch: Batch, layers: set[int]) -> dict[int, Tensor]:
        """Teacher states {layer: (B, T, H)} of a batch, cached or on the fly."""
        if batch.targets is not None:
            return {layer: batch.targets[layer] for layer in layers}
        if batch.utterances is None:
            states = self.teacher(batch.clean)
            return {layer: states[layer] for layer in layers}
        frames = self.modules.model.window_frames
        rows: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        for utterance, start in zip(batch.utterances, batch.start_frames, strict=True):
            states = self.teacher(utterance[None])
            for layer in layers:
                rows[layer].append(states[layer][0, start : start + frames])
        frames = min(len(row) for states in rows.values() for row in states)
        return {layer: torch.stack([row[:frames] for row in states]) for layer, states in rows.items()}

    def compute_objectives(
        self, predictions: tuple[list[Tensor], Tensor], batch: Batch | HiddenBatch, stage: sb.Stage
    ) -> Tensor:
        hidden, embedding = predictions
        total = torch.zeros((), device=embedding.device)
        if self.sv_weight:
            sv = self.modules.sv_loss(embedding, batch.label)
            total = total + self.sv_weight * sv
            self._count("sv", sv)
        if self.kd_weights:
            layers = {layer for loss in self.modules.kd_losses for layer in loss.teacher_layers}
            mine, theirs = align_frames(hidden, self.teacher_states(batch, layers))
            for (name, weight), loss in zip(self.kd_weights, self.modules.kd_losses, strict=True):
                with torch.set_grad_enabled(torch.is_grad_enabled() and weight > 0):
                    kd = loss(mine, theirs)
                total = total + weight * kd if weight else total
                self._count(name, kd)
        self._count("loss", total)
        return total

    def _count(self, name: str, value: Tensor) -> None:
        value = value.detach().double()
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    def learning_rate(self, epoch: int, step: int) -> float:
        """Rate of a step (counted from 1) of an epoch (counted from 1)."""
        options = self.options
        done = epoch - 1 + (step - 1) / self.steps_per_epoch
        rate = options.lr * self.state.lr_scale
        if options.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, done / options.max_epochs)))
        if done < options.warmup_epochs:
            rate *= (done * self.steps_per_epoch + 1) / (options.warmup_epochs * self.steps_per_epoch)
        return rate

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        if stage != sb.Stage.TRAIN:
            return
        self.dataset.epoch = epoch
        torch.manual_seed(int(np.random.SeedSequence((self.seed, epoch)).generate_state(1)[0]))
        warmup = self.options.margin_warmup_epochs
        self.modules.sv_loss.margin_factor = min(1.0, (epoch - 1) / warmup) if warmup else 1.0
        self._sums, self._started = {}, time.monotonic()

    def on_stage_end(self, stage: sb.Stage, stage_loss: float, epoch: int | None = None) -> None:
        if stage != sb.Stage.TRAIN:
            return
        state, options = self.state, self.options
        self._finite_loss()
        self._check_weights()
        state.epoch = epoch
        record = {"epoch": epoch, "lr": self.optimizer.param_groups[0]["lr"]}
        record.update({name: value.item() / self.steps_per_epoch for name, value in self._sums.items()})
        if epoch % options.valid_every == 0 or epoch == options.max_epochs:
            record["eer"] = self.validation.eer(self.modules.model)
            state.validated(record["eer"], options)
        seconds = time.monotonic() - self._started
        state.seconds += seconds
        record["seconds"] = seconds
        state.history.append(record)
        losses = ", ".join(f"{name} {record[name]:.4f}" for name in self._sums)
        eer = f", valid EER {100 * record['eer']:.2f} % (best {100 * state.best_eer:.2f})" if "eer" in record else ""
        log.info("epoch %d/%d: %s%s, lr %.2e, %.0f s", epoch, options.max_epochs, losses, eer, record["lr"], seconds)
        for name, value in record.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()
        self.checkpointer.save_and_keep_only(
            meta={"eer": state.best_eer if state.best_epoch == epoch else math.inf, "epoch": epoch},
            min_keys=["eer"],
            keep_recent=True,
            verbosity=logging.DEBUG,
        )

    def _check_weights(self) -> None:
        """Raise ModelError if the last step left a weight that is not finite: no checkpoint shall hold it."""
        learned = [p.isfinite().all() for p in self.modules.parameters() if p.requires_grad]
        if not torch.stack(learned).all():
            raise ModelError(
                f"the weights are not finite after epoch {self.state.epoch + 1}",
                mend="lower lr; the last checkpoint is kept",
            )

    def finish(self) -> None:
        """Bring back the weights of the best validation."""
        self._writer.close()
        state = dataclasses.replace(self.state)  # of the last epoch, not of the best
        self.checkpointer.recover_if_possible(min_key="eer")
        self.state = state

    def on_fit_start(self) -> None:
        try:
            super().on_fit_start()
        except Exception as error:  # torch.load alone has a dozen ways to fail
            why = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelError(
                f"the checkpoint does not fit: {why[0]}",
                path=self.checkpointer.checkpoints_dir,
                mend="remove the directory to start afresh",
            ) from error
        self.step = 0  # SpeechBrain brings back the last step of the epoch that was saved at its end
        if self.state.epoch:
            log.info("resuming after epoch %d", self.state.epoch)
