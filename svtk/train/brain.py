"""The training loop of every verb: SpeechBrain's Brain with SV loss, KD losses, validation by EER, and resume."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import speechbrain as sb
import torch
from speechbrain.utils.checkpoints import Checkpoint
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from svtk.data.crops import Batch, HiddenBatch
from svtk.errors import ConfigError, ModelError, SvtkError
from svtk.models.speaker_model import SpeakerModel
from svtk.train import parallel
from svtk.train.averaging import MovingAverage, load_mean
from svtk.train.checkpointer import Checkpoints, WholeCheckpointer, reading
from svtk.train.log import TrainLog
from svtk.train.objective import Objective, recompute_activations, teacher_states
from svtk.train.options import TrainOptions
from svtk.train.schedule import learning_rate, make_optimizer
from svtk.train.state import TrainState
from svtk.train.steps import StepSampler, TimedLoader
from svtk.train.tally import EpochTally
from svtk.train.termination import Terminated, Termination
from svtk.train.validation import Validation

__all__ = ["SpeakerBrain"]

log = logging.getLogger(__name__)

_CHECK_EVERY = 50  # steps between two looks at what the device counts, each of which waits for it


class SpeakerBrain(sb.Brain):
    """Trains an :class:`Objective`, in one process or in several.

    Every step draws its random numbers from (seed, epoch, step, part of the batch), so a run that was killed and
    resumed gives the weights of one that was not. A step does not wait for the device: losses are summed there and
    read every so often, and at the end of the epoch, before anything is saved. A step whose gradient is not finite
    is left out and counted. A SIGTERM ends the run after a step, or from within a validation, and saves it: then
    :class:`.termination.Terminated` is raised.

    Args:
        objective: model and losses.
        sampler: of the training crops.
        validation: gives the EER.
        options: training options.
        checkpoints: when to save.
        seed: of this run.
        device: of this process.
        directory: MODEL_DIR; checkpoints and logs go below it.
        teacher: frozen teacher for targets on the fly, or None.
        tensorboard: whether to log for TensorBoard.

    Raises:
        ConfigError: what the device or the model cannot do.
    """

    def __init__(
        self,
        *,
        objective: Objective,
        sampler: StepSampler,
        validation: Validation,
        options: TrainOptions,
        checkpoints: Checkpoints,
        seed: int,
        device: str,
        directory: Path,
        teacher: nn.Module | None = None,
        tensorboard: bool = True,
    ):
        if options.precision == "fp16" and device == "cpu":
            raise ConfigError("precision fp16 needs a GPU", found="--device cpu", mend="set precision=bf16")
        self.objective, self.sampler, self.validation = objective, sampler, validation
        self.options, self.seed, self.state, self.checkpoints = options, seed, TrainState(), checkpoints
        self.dataset, self.teacher = sampler.batches.dataset, teacher
        self.steps_per_epoch = len(sampler.batches)
        model = objective.model
        if options.activation_checkpointing:
            recompute_activations(model)
        if options.compile:
            model.compile()
        learning = (
            {"model": model} if any(p.requires_grad for p in model.encoder.parameters()) else {"backend": model.backend}
        )
        self._averaged = {**learning, "sv_loss": objective.sv_loss}  # what is saved at the end
        if objective.kd_losses.state_dict():
            learning["kd_losses"] = objective.kd_losses
        self.optimizer, self.moving_average, self._sgd = None, None, False
        super().__init__(
            modules={"objective": objective},
            opt_class=lambda parameters: make_optimizer(
                parameters, options, sgd=self._sgd, fused=device.startswith("cuda")
            ),
            run_opts={
                "device": device,
                "precision": options.precision,
                "max_grad_norm": options.max_grad_norm,
                "distributed_backend": "nccl" if device.startswith("cuda") else "gloo",
            },
            checkpointer=WholeCheckpointer(
                directory / "checkpoints", {**learning, "sv_loss": objective.sv_loss, "state": self.state}
            ),
        )
        if teacher is not None:
            teacher.to(device)
            if options.compile:
                teacher.compile()
        self.log = TrainLog(
            directory,
            max_epochs=options.max_epochs,
            steps_per_epoch=self.steps_per_epoch,
            crops_per_step=sampler.batches.batch_size,
            tensorboard=tensorboard,
            quiet=not parallel.is_main(),
        )
        self._termination = Termination()
        self.tally = EpochTally(device)

    @property
    def model(self) -> SpeakerModel:
        """What is trained."""
        return self.objective.model

    @property
    def has_checkpoint(self) -> bool:
        """Whether an earlier run has left something to resume from."""
        return self.checkpointer.newest() is not None

    def epochs(self) -> Iterator[int]:
        """Epochs still to do, counted from 1."""
        while not self.state.is_over(self.options):
            yield self.state.epoch + 1
        if self.state.bad_since_best >= self.options.stop_patience:
            log.info("no improvement in %d validations: stopping", self.state.bad_since_best)

    # One step

    def compute_forward(self, batch: Batch | HiddenBatch, stage: sb.Stage) -> dict[str, Tensor]:
        layers = self.objective.teacher_layers
        states = teacher_states(self.teacher, batch, layers, self.model.window_frames) if layers else {}
        return self.modules.objective(batch, states)

    def compute_objectives(self, predictions: dict[str, Tensor], batch: Batch | HiddenBatch, stage: sb.Stage) -> Tensor:
        return self.objective.total(predictions)

    def fit_batch(self, batch: Batch | HiddenBatch) -> Tensor:
        """A part of a step, and the step where it is the last; the loss is left on its device.

        SpeechBrain's reads it back three times, divides by the number of parts whatever their sizes, and at the end
        of an epoch throws away what does not fill a step.
        """
        batch = batch.to(self.device)
        part, last = (self.step - 1) % self.sampler.accumulation, self.step % self.sampler.accumulation == 0
        if part == 0:
            state = self.state
            rate = learning_rate(self.options, state, self.steps_per_epoch, state.epoch + 1, state.step + 1)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
        place = self.state.epoch + 1, self.state.step + 1, part * parallel.world_size() + parallel.rank()
        torch.manual_seed(int(np.random.SeedSequence((self.seed, *place)).generate_state(1)[0]))
        share = len(batch.label) * parallel.world_size() / self.sampler.batches.batch_size
        with self.no_sync(not last):
            with self.training_ctx:
                losses = self.compute_forward(batch, sb.Stage.TRAIN)
                loss = self.compute_objectives(losses, batch, sb.Stage.TRAIN)
            self.scaler.scale(loss * share).backward()
        self.tally.add_part({**losses, "loss": loss}, share, first=part == 0)
        if last:
            self.optimizers_step()
        return loss.detach()

    def optimizers_step(self) -> None:
        """Learn from the gradient, clipped, where it is finite; count the step.

        SpeechBrain's would look at every weight's gradient by itself, and wait for each.
        """
        self.scaler.unscale_(self.optimizer)
        parameters = self.optimizer.param_groups[0]["params"]
        spoilt = ~torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm).isfinite()
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
            self.scaler.update()
        elif self.device_type == "cuda":  # the fused step looks on the device: nobody waits
            self.optimizer.found_inf = spoilt.float()
            self.optimizer.step()
        elif not spoilt:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.moving_average is not None:
            self.moving_average.update(self.state.epoch * self.steps_per_epoch + self.state.step)
        self.tally.end_step(spoilt)

    # One epoch

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """SpeechBrain's.

        Raises:
            Terminated: there was a SIGTERM, and the run is saved.
        """
        try:
            with self._termination.noted():
                super().fit(*args, **kwargs)
        except Terminated:
            self.log.close()
            if parallel.is_main():
                place = self.state.epoch + 1, self.state.step
                how = "ended by SIGTERM in epoch %d, saved after step %d: the same command goes on from there"
                log.warning(how, *place)
            raise

    def _fit_train(self, train_set: DataLoader, epoch: int, enable: bool) -> None:
        """SpeechBrain's, but begun at the step that a checkpoint within the epoch was saved after."""
        self._use_optimizer(sgd=self.state.sgd_from is not None)
        self.on_stage_start(sb.Stage.TRAIN, epoch)
        self.modules.train()
        loader = TimedLoader(train_set)
        batches = iter(loader)
        while (batch := self._next(batches)) is not None:
            self.step += 1
            self.fit_batch(batch)
            if self.step % self.sampler.accumulation == 0:
                self.state.step += 1
                self._after_step(loader.waited)
        self.log.end_epoch()
        self._waited = loader.waited
        self.on_stage_end(sb.Stage.TRAIN, 0.0, epoch)
        self.step = 0

    def _next(self, batches: Iterator[Batch | HiddenBatch]) -> Batch | HiddenBatch | None:
        """The next batch; where it cannot be had, what was learned so far is saved before the error goes on.

        Of several processes only one may have failed, and the others know nothing of it: their last checkpoint stays.
        """
        try:
            return next(batches, None)
        except SvtkError:
            if self.state.step and parallel.world_size() == 1:
                self.optimizer.zero_grad(set_to_none=True)
                self._save(end_of_epoch=False)
                if self._termination.requested:  # by one to all processes, of which a loading one was among the first
                    raise Terminated from None
            raise

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        state, warmup = self.state, self.options.margin_warmup_epochs
        self.dataset.epoch, self.sampler.first_step = epoch, state.step
        self.objective.sv_loss.margin_factor = min(1.0, (epoch - 1) / warmup) if warmup else 1.0
        self.tally.start(state)
        self._started = time.monotonic() - state.epoch_seconds
        self._saved = time.monotonic()
        self.log.start_epoch(state)

    def _after_step(self, waited: float) -> None:
        state = self.state
        look = state.step % _CHECK_EVERY == 0
        if look:
            self._check_finite()
        self.log.step(state, waited, time.monotonic() - self._started, self._mean_losses)
        minutes, steps = self.checkpoints.minutes, self.checkpoints.steps
        due = bool(minutes) and time.monotonic() - self._saved > 60 * minutes
        if parallel.world_size() > 1:  # a clock for all, which they look at together
            due = look and parallel.broadcast(due)
        ends = parallel.any_of(self._termination.requested)
        if due or ends or (steps and state.step % steps == 0):
            self._check_finite()
            self._save(end_of_epoch=False)
            self._saved = time.monotonic()
        if ends:
            raise Terminated

    def _mean_losses(self) -> dict[str, float]:
        """Of the epoch so far, in this process."""
        return {**self.tally.means(self.state.step), **self._rate()}

    def _rate(self) -> dict[str, float]:
        return {"lr": self.optimizer.param_groups[0]["lr"]}

    def _check_finite(self, end_of_epoch: bool = False) -> None:
        """
        Raises:
            ModelError: steps were left out, one after another, beyond patience, or all of an epoch. The weights
                before them are saved.
        """
        state, patience = self.state, self.options.nonfinite_patience
        longest = self.tally.longest_streak
        if longest <= patience and not (end_of_epoch and self.tally.skipped == state.step):
            return
        self._save(end_of_epoch=False)
        raise ModelError(
            f"the loss or its gradient is not finite in epoch {state.epoch + 1}",
            found=f"{longest} such step(s) one after another",
            expected=f"at most {patience} (nonfinite_patience), and not all of an epoch",
            mend="train into another MODEL_DIR with a lower lr, or in another precision; the weights before are kept",
        )

    def on_stage_end(self, stage: sb.Stage, stage_loss: float, epoch: int | None = None) -> None:
        state, options = self.state, self.options
        self._check_finite(end_of_epoch=True)
        self._check_weights()
        self._share_buffers()
        skipped = self.tally.skipped
        record = {"epoch": epoch, **self._rate()}
        record.update({name: value / (self.steps_per_epoch - skipped) for name, value in self.tally.sums().items()})
        if skipped:
            record["skipped"] = skipped
            log.warning("epoch %d: %d step(s) without a finite gradient were left out", epoch, record["skipped"])
        validating = epoch % options.valid_every == 0 or epoch == state.phase(options)[1]
        if validating:
            record["eer"] = self._validate()
        record["seconds"] = state.epoch_seconds = parallel.broadcast(time.monotonic() - self._started)
        state.next_epoch()
        if validating:
            state.validated(record["eer"], options)
        state.next_phase(options)
        if state.sgd_from == epoch:
            log.info("epoch %d: AdamW's phase is over, SGD takes over", epoch)
        state.history.append(record)
        self._save(end_of_epoch=True)
        self.log.epoch(state, self._waited)

    def _validate(self) -> float:
        """The EER. Several processes validate to the end, whatever they are asked for: they work together."""
        with self._averages_applied():
            if parallel.world_size() > 1:
                return self.validation.eer(self.model)
            try:
                with self._termination.obeyed_at_once():
                    return self.validation.eer(self.model)
            except Terminated:
                pass
        self._save(end_of_epoch=False)
        raise Terminated

    def _check_weights(self) -> None:
        """Raise ModelError if the last step left a weight that is not finite: no checkpoint shall hold it."""
        learned = [p.isfinite().all() for p in self.modules.parameters() if p.requires_grad]
        if not torch.stack(learned).all():
            raise ModelError(
                f"the weights are not finite after epoch {self.state.epoch + 1}",
                mend="lower lr; the last checkpoint is kept",
            )

    def _averages_applied(self) -> contextlib.AbstractContextManager[None]:
        """Within it the model is what will be saved: the moving average, where there is one."""
        return contextlib.nullcontext() if self.moving_average is None else self.moving_average.applied()

    def _share_buffers(self) -> None:
        """Give all processes the first one's running statistics, as at the beginning of every step."""
        if parallel.world_size() > 1:
            averages = [] if self.moving_average is None else self.moving_average.state_dict().values()
            for buffer in (*self.model.buffers(), *averages):
                torch.distributed.broadcast(buffer, src=0)

    # From run to run

    def _save(self, end_of_epoch: bool) -> None:
        state = self.state
        if not end_of_epoch:
            self._share_buffers()
            state.sums, state.skipped = self.tally.sums(), self.tally.skipped
            state.epoch_seconds = time.monotonic() - self._started
        self.checkpointer.save_checkpoint(
            meta={"epoch": state.epoch, "step": state.step, "sgd": self._sgd},
            end_of_epoch=end_of_epoch,
            verbosity=logging.DEBUG,
        )
        self.checkpointer.prune(max(self.checkpoints.keep, self.options.average_last), state.best_epoch)

    def _wrap_distributed(self) -> None:
        """SpeechBrain's, but BatchNorm stays as it is on a CPU, where PyTorch has no synchronous one."""
        if parallel.world_size() == 1:
            return
        objective, device = self.objective, None
        if self.device_type == "cuda":
            objective, device = nn.SyncBatchNorm.convert_sync_batchnorm(objective), [self.device]
        # Without an SV loss the backend learns nothing, and Hugging Face's encoders have weights for masking alone.
        idle = not objective.sv_weight or self.model.config.kind == "teacher"
        self.modules["objective"] = DistributedDataParallel(objective, device, find_unused_parameters=idle)

    def on_fit_start(self) -> None:
        self._wrap_distributed()
        if self.options.ema_decay:
            self.moving_average = MovingAverage(self._averaged, self.options.ema_decay)
            self.checkpointer.add_recoverable("moving_average", self.moving_average)
        self._use_optimizer(sgd=False)
        newest = self.checkpointer.newest()
        if newest is not None:
            self._load(newest)
            where = f" and {self.state.step} steps" if self.state.step else ""
            log.info("resuming after epoch %d%s", self.state.epoch, where)
        self.step = self.state.step * self.sampler.accumulation
        self.log.start(self.state)

    def _use_optimizer(self, *, sgd: bool) -> None:
        """Begin with SGD, or with AdamW, unless that is what there is."""
        if self.optimizer is None or sgd != self._sgd:
            self._sgd = sgd
            self.init_optimizers()

    def _load(self, checkpoint: Checkpoint) -> None:
        with reading(checkpoint):
            self._use_optimizer(sgd=checkpoint.meta.get("sgd", False))
            self.checkpointer.load_checkpoint(checkpoint)

    def finish(self) -> float:
        """Make the model of the first process what is to be saved; its validation EER.

        That is the best validation's, or the mean of the last epochs' where they are to be averaged.
        """
        self.log.close()
        if self.options.average_last:
            return self._average_last()
        state = dataclasses.replace(self.state)  # of the last epoch, not of the best
        best = self.checkpointer.of_epoch(state.best_epoch)
        if best is not None and parallel.is_main():
            self._load(best)
        if self.moving_average is not None:
            self.moving_average.swap()
        self.state = state
        return state.best_eer

    def _average_last(self) -> float:
        ends = parallel.on_main(lambda: self.checkpointer.last_ends(self.options.average_last))  # which it has saved
        for name, module in self._averaged.items():
            with reading(ends[-1]):
                load_mean(module, [checkpoint.paramfiles[name] for checkpoint in ends])
        eer = self.validation.eer(self.model)
        log.info("the mean of the last %d epoch(s): valid EER %.2f %%", len(ends), 100 * eer)
        return eer
