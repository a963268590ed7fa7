"""What a training run must remember beside its weights and its optimiser."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

from speechbrain.utils import checkpoints

from svtk.train.options import TrainOptions

__all__ = ["TrainState"]


@checkpoints.register_checkpoint_hooks
@dataclasses.dataclass
class TrainState:
    """What resuming needs; random numbers need nothing, being drawn anew for every step from its place.

    Attributes:
        epoch: finished epochs.
        step: finished steps of the next epoch.
        sums: over these steps, of each loss.
        skipped: of these steps, those whose gradient was not finite.
        epoch_seconds: time these steps took.
        lr_scale: what the plateau has left of the rate.
        sgd_from: finished epochs when SGD took over, None before.
        bad_since_lr, bad_since_best: validations without improvement, since the rate was changed and since the best.
        best_eer, best_epoch: of the best validation.
        seconds: time the finished epochs took.
        history: one entry per finished epoch.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = dataclasses.field(default_factory=dict)
    skipped: int = 0
    epoch_seconds: float = 0.0
    lr_scale: float = 1.0
    sgd_from: int | None = None
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

    def phase(self, options: TrainOptions) -> tuple[int, int, float]:
        """The optimiser's phase: finished epochs when it began and when it ends at the latest, and its first rate."""
        if self.sgd_from is None:
            return 0, options.max_epochs - options.sgd.epochs, options.lr
        return self.sgd_from, self.sgd_from + options.sgd.epochs, options.sgd.lr

    def is_over(self, options: TrainOptions) -> bool:
        """Whether the phase has had its epochs, or has gone on for *stop_patience* without improvement."""
        return self.epoch >= self.phase(options)[1] or self.bad_since_best >= options.stop_patience

    def next_phase(self, options: TrainOptions) -> None:
        """Go on to SGD if AdamW's phase is over and there is to be another; rate and patience begin anew."""
        if options.sgd.epochs and self.sgd_from is None and self.is_over(options):
            self.sgd_from, self.lr_scale, self.bad_since_lr, self.bad_since_best = self.epoch, 1.0, 0, 0

    def next_epoch(self) -> None:
        """Count an epoch as finished."""
        self.epoch += 1
        self.seconds += self.epoch_seconds
        self.step, self.sums, self.skipped, self.epoch_seconds = 0, {}, 0, 0.0

    @checkpoints.mark_as_saver
    def _save(self, path: Path) -> None:
        Path(path).write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @checkpoints.mark_as_loader
    def _load(self, path: Path, end_of_epoch: bool) -> None:
        for key, value in json.loads(Path(path).read_text(encoding="utf-8")).items():
            setattr(self, key, value)
