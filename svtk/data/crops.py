"""Random training crops of utterances, on the frame grid, each a function of (seed, epoch, utterance) alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from svtk.data import FRAME, speed
from svtk.data.audio import read_audio, repeat_to
from svtk.data.augment import Augmenter
from svtk.data.shards import ShardReadahead, Shards
from svtk.data.targets import Targets
from svtk.data.teacher_embeddings import TeacherEmbeddings
from svtk.data.utterances import Utterances
from svtk.errors import ConfigError, DataError, SvtkError
from svtk.progress import progress

__all__ = ["Batch", "CropDataset", "EpochSampler", "HiddenBatch", "HiddenCrops"]


@dataclasses.dataclass
class Batch:
    """B crops.

    Attributes:
        wav: what the student hears (B, N), augmented.
        clean: what the teacher hears (B, N); *wav* itself where nothing was augmented.
        label: speaker index (B,).
        targets: cached teacher states {layer: (C, T or T - 1, H)} of the crops that have them, or None.
        utterances: whole clean utterances, each (N_i,), of the B - C crops that have no cached states, or None.
        start_frames: first frame of each crop in its utterance.
        cached: for each crop whether *targets* has it, where some crops do and others do not; else None.
        teacher_embedding: another system's embeddings of the crops' utterances (B, E'), or None.
    """

    wav: torch.Tensor
    clean: torch.Tensor
    label: torch.Tensor
    targets: dict[int, torch.Tensor] | None
    utterances: list[torch.Tensor] | None
    start_frames: list[int]
    cached: list[bool] | None = None
    teacher_embedding: torch.Tensor | None = None

    def to(self, device: Any, **_: Any) -> Batch:
        """A copy on *device*; nobody waits for what is pinned."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """A copy in memory from which a GPU fetches by itself."""
        return self._mapped(torch.Tensor.pin_memory)

    def _mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        wav = change(self.wav)
        return dataclasses.replace(
            self,
            wav=wav,
            clean=wav if self.clean is self.wav else change(self.clean),
            label=change(self.label),
            targets=None if self.targets is None else {k: change(v) for k, v in self.targets.items()},
            utterances=None if self.utterances is None else [change(u) for u in self.utterances],
            teacher_embedding=None if self.teacher_embedding is None else change(self.teacher_embedding),
        )


def label_speakers(items: Utterances) -> tuple[list[str], np.ndarray]:
    """The speakers, sorted, and the index of each item's speaker among them (N,).

    Raises:
        DataError: fewer than two speakers.
    """
    speakers = sorted(items.spks)
    if len(speakers) < 2:
        raise DataError("training needs at least two speakers", found=f"{len(speakers)}")
    rank = {spk: i for i, spk in enumerate(speakers)}
    return speakers, np.array([rank[spk] for spk in items.spks])[items.spk_of]


def _refuse_of_own_speed(cached: dict[str, Any], factors: Sequence[float]) -> None:
    for name, given in cached.items():
        if given is not None:
            raise ConfigError(
                f"teacher {name} are of the utterances at their own speed",
                found=f"augment.speed.factors {list(factors)}",
                mend="run the teacher in the loop (--teacher alone), or leave augment.speed out",
            )


class CropDataset(Dataset):
    """One random crop per utterance and epoch.

    Args:
        items: training utterances.
        crop_samples: N; shorter utterances are repeated to it.
        grid: crops start on multiples of this many samples (320: one frame).
        seed: with the epoch and the utterance's place, decides every crop and augmentation.
        augmenter: makes the student's side noisy, or None.
        targets: cached teacher targets to slice along, and frames per crop, or None.
        teacher_embeddings: of every utterance, to give along with its crops, or None.
        whole: also give the whole utterance (for a teacher that hears all of it) where it has no cached targets, which
            some or all may then lack.
        cache: keep decoded audio in memory as 16-bit integers.
        shuffle_buffer: where all utterances lie in shards, each epoch takes the shards in random order and reads them
            from front to back, each utterance up to so many others later.
        perturbation: of the speed at which each crop is heard.

    Attributes:
        speakers: those of the classes; with new speakers by speed, all at their own speed, then all at the next.
        labels: class of each utterance at its own speed (N,).

    Raises:
        ConfigError: cached teacher targets or teacher embeddings, and perturbed speed.
        DataError: fewer than two speakers; an utterance without embedding or, but with *whole*, teacher target.
    """

    def __init__(
        self,
        items: Utterances,
        crop_samples: int,
        *,
        grid: int = FRAME,
        seed: int = 0,
        augmenter: Augmenter | None = None,
        targets: Targets | None = None,
        crop_frames: int = 0,
        teacher_embeddings: TeacherEmbeddings | None = None,
        whole: bool = False,
        cache: bool = False,
        shuffle_buffer: int = 1,
        perturbation: speed.Config | None = None,
    ):
        self.items = items
        self.speakers, self.labels = label_speakers(items)
        self._num_own = len(self.speakers)
        self._speeds = (1.0, *perturbation.factors) if perturbation is not None else (1.0,)
        self._new_speakers = perturbation is not None and perturbation.new_speakers
        if self._new_speakers:
            self.speakers += [f"{spk}-sp{factor:g}" for factor in self._speeds[1:] for spk in self.speakers]
        if len(self._speeds) > 1:
            _refuse_of_own_speed({"targets": targets, "embeddings": teacher_embeddings}, self._speeds[1:])
        self.crop_samples, self.grid, self.seed = crop_samples, grid, seed
        self.augmenter, self.targets, self.crop_frames, self.whole = augmenter, targets, crop_frames, whole
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self.shuffle_buffer = shuffle_buffer
        self._cache: list[np.ndarray] | None = None
        self._shards = None if cache else Shards.of(items)
        self._readahead = None
        if self._shards is not None:
            self._readahead = ShardReadahead(self._shards, seed, max(1, shuffle_buffer // 2))
        if cache:
            self._cache = [
                np.clip(np.round(self._read(i) * 32768), -32768, 32767).astype(np.int16)  # exact for 16-bit audio
                for i in progress(range(len(items)), "read audio")
            ]
        if targets is not None and not whole:
            targets.check(items.utts.to_pylist())
        self._teacher_embeddings: np.ndarray | None = None
        if teacher_embeddings is not None:
            self._teacher_embeddings = teacher_embeddings.rows(items.utts.to_pylist())

    def __len__(self) -> int:
        return len(self.items)

    @property
    def epoch(self) -> int:
        """What crops, augmentation and order are drawn for; data loading processes see it change, too."""
        return int(self._epoch)

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def order(self) -> np.ndarray:
        """The utterances' places (N,) in the order in which this epoch takes them."""
        rng = np.random.default_rng((self.seed, self.epoch))
        if self._shards is None:
            return rng.permutation(len(self))
        return self._shards.order(rng, self.shuffle_buffer)

    def _read(self, index: int, start: int = 0, num_samples: int | None = None) -> np.ndarray:
        item = self.items[index]
        size = item.num_samples if num_samples is None else num_samples
        return read_audio(item.wav, item.start + start, size, item.utt)

    def _samples(self, index: int, start: int, num_samples: int, factor: float) -> np.ndarray:
        """Samples of the utterance as it is at a speed."""

        def read(first: int, size: int) -> np.ndarray:
            if self._cache is not None:
                return self._cache[index][first : first + size].astype(np.float32) / 32768
            return self._read(index, first, size)

        if factor == 1:
            return read(start, num_samples)
        return speed.read_perturbed(read, int(self.items.num_samples[index]), factor, start, num_samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.items[index]
        rng = np.random.default_rng((self.seed, self.epoch, index))
        variant = int(rng.integers(len(self._speeds))) if len(self._speeds) > 1 else 0
        factor = self._speeds[variant]
        length = item.num_samples if not variant else speed.num_perturbed(item.num_samples, factor)
        size = self.crop_samples
        start_frame = int(rng.integers(max(0, length - size) // self.grid + 1))
        start = start_frame * self.grid
        clean = repeat_to(self._samples(index, start, min(size, length), factor), size)
        example = {
            "clean": clean,
            "wav": clean if self.augmenter is None else self.augmenter(clean, rng),
            "label": int(self.labels[index]) + (self._num_own * variant if self._new_speakers else 0),
            "start_frame": start // FRAME,
        }
        cached = self.targets is not None and item.utt in self.targets
        if cached:
            example["targets"] = self.targets.read(item.utt, start // FRAME, self.crop_frames)
        if self._teacher_embeddings is not None:
            example["teacher_embedding"] = self._teacher_embeddings[index]
        if self.whole and not cached:
            example["utterance"] = repeat_to(self._samples(index, 0, length, factor), size)
        return example

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]] | SvtkError:
        """The examples of a batch for a DataLoader, or the error: a worker could raise only its whole traceback."""
        if self._readahead is not None:
            self._readahead.want(np.asarray(indices), self.epoch)
        try:
            return [self[index] for index in indices]
        except SvtkError as error:
            return error

    @staticmethod
    def collate(examples: Sequence[dict[str, Any]] | SvtkError) -> Batch | SvtkError:
        """Stack examples; an error goes through, to be raised by who asked for the batch.

        Teacher targets that end one frame before their crop shorten those of the whole batch.
        """
        if isinstance(examples, SvtkError):
            return examples

        def stack(key: str) -> torch.Tensor:
            return torch.from_numpy(np.stack([example[key] for example in examples]))

        targets, cached = None, ["targets" in example for example in examples]
        if any(cached):
            states = [example["targets"] for example in examples if "targets" in example]
            frames = min(len(state) for layers in states for state in layers.values())
            targets = {k: torch.from_numpy(np.stack([layers[k][:frames] for layers in states])) for k in states[0]}
        utterances = [torch.from_numpy(example["utterance"]) for example in examples if "utterance" in example]
        clean = stack("clean")
        same = all(example["wav"] is example["clean"] for example in examples)
        return Batch(
            clean if same else stack("wav"),
            clean,
            torch.tensor([example["label"] for example in examples]),
            targets,
            utterances or None,
            [example["start_frame"] for example in examples],
            cached if any(cached) and not all(cached) else None,
            stack("teacher_embedding") if "teacher_embedding" in examples[0] else None,
        )


@dataclasses.dataclass
class HiddenBatch:
    """B crops of hidden states: ``hidden`` L+1 times (B, T, H) float32, ``label`` (B,)."""

    hidden: list[torch.Tensor]
    label: torch.Tensor

    def to(self, device: Any, **_: Any) -> HiddenBatch:
        """A copy on *device*; nobody waits for what is pinned."""
        return HiddenBatch(
            [state.to(device, non_blocking=True) for state in self.hidden], self.label.to(device, non_blocking=True)
        )

    def pin_memory(self) -> HiddenBatch:
        """A copy in memory from which a GPU fetches by itself."""
        return HiddenBatch([state.pin_memory() for state in self.hidden], self.label.pin_memory())


class HiddenCrops(Dataset):
    """One random crop per utterance and epoch of the hidden states of a frozen encoder, held in memory.

    Args:
        items: the utterances.
        hidden: for each utterance its copies (clean, augmented ...), each float16 (L+1, T_i, H).
        crop_frames: T of a crop; no T_i is smaller.
        seed: with the epoch and the utterance's place, decides every crop.

    Raises:
        DataError: fewer than two speakers.
    """

    def __init__(self, items: Utterances, hidden: list[list[torch.Tensor]], crop_frames: int, seed: int):
        self.speakers, self.labels = label_speakers(items)
        self._hidden, self.crop_frames, self.seed = hidden, crop_frames, seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    epoch = CropDataset.epoch

    def __len__(self) -> int:
        return len(self._hidden)

    def order(self) -> np.ndarray:
        """The utterances' places (N,) in the order in which this epoch takes them."""
        return np.random.default_rng((self.seed, self.epoch)).permutation(len(self))

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        copies = self._hidden[index]
        hidden = copies[rng.integers(len(copies))]
        start = int(rng.integers(hidden.shape[1] - self.crop_frames + 1))
        return hidden[:, start : start + self.crop_frames], int(self.labels[index])

    @staticmethod
    def collate(examples: Sequence[tuple[torch.Tensor, int]]) -> HiddenBatch:
        """Stack examples."""
        hidden = torch.stack([example[0] for example in examples], dim=1).float()  # (L+1, B, T, H)
        return HiddenBatch(list(hidden), torch.tensor([example[1] for example in examples]))


class EpochSampler(Sampler[list[int]]):
    """Batches of the dataset's order, which depends on (seed, epoch) alone; the last, smaller batch is dropped.

    An epoch of a corpus smaller than one batch is one batch of all of it.
    """

    def __init__(self, dataset: CropDataset | HiddenCrops, batch_size: int):
        self.dataset = dataset
        self.batch_size = min(batch_size, len(dataset))

    def __len__(self) -> int:
        return len(self.dataset) // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        order = self.dataset.order()
        for i in range(len(self)):
            yield order[i * self.batch_size : (i + 1) * self.batch_size].tolist()
