"""WavLM, HuBERT, wav2vec 2.0 and data2vec-audio through SpeechBrain's Hugging Face lobes, which share one interface."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub.constants import HF_HUB_CACHE
from safetensors import SafetensorError
from speechbrain.integrations.huggingface.wav2vec2 import Wav2Vec2
from torch import Tensor
from transformers import AutoModel, Wav2Vec2FeatureExtractor

from svtk.teachers._base import Teacher, cannot_load, check_loaded, quiet_transformers
from svtk.weights import open_to_umask

__all__ = ["Config", "Wav2Vec2Teacher", "open_lobe", "save_feature_extractor"]

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Config:
    """``source``: a Hugging Face hub name or a local directory; ``cache_dir``: where downloads go."""

    source: str
    cache_dir: str | None = None


class Wav2Vec2Teacher(Teacher):
    """Any model of the wav2vec 2.0 family; its preprocessor says whether the wav is normalised first.

    Normalised is a whole wav (crop or utterance), to zero mean and unit variance. The last hidden state is that
    after the encoder's last layer norm, as it is of the students.

    Padding is masked where that is exact: not behind a group norm over time (the base models), nor in data2vec's
    stack of positional convolutions, whose layer norms make something of nothing.
    """

    def __init__(self, lobe: Wav2Vec2, frozen: bool):
        super().__init__(frozen)
        self.lobe = lobe
        self.normalize_wav, lobe.normalize_wav = lobe.normalize_wav, False  # here, as transformers does it
        self.hidden_dim = lobe.model.config.hidden_size
        self.num_hidden = lobe.model.config.num_hidden_layers + 1
        self.masks_padding = (
            getattr(lobe.model.config, "feat_extract_norm", "layer") == "layer"
            and lobe.model.config.model_type != "data2vec-audio"
        )
        self.freeze_if_asked()

    def num_frames(self, num_samples: int) -> int:
        config = self.lobe.model.config
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            num_samples = (num_samples - kernel) // stride + 1
        return num_samples

    def forward(self, wav: Tensor, num_samples: Sequence[int] | None = None) -> list[Tensor]:
        mask = None
        if num_samples is not None:
            mask = torch.arange(wav.shape[1], device=wav.device) < torch.tensor(num_samples, device=wav.device)[:, None]
        if self.normalize_wav:
            wav = _normalized(wav) if mask is None else _normalized_within(wav, mask)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")  # of WavLM's own two masks
            output = self.lobe.model(
                wav, attention_mask=None if mask is None else mask.long(), output_hidden_states=True
            )
        # The large models end with a layer norm, which transformers leaves out of hidden_states since 5.0.
        return [*output.hidden_states[:-1], output.last_hidden_state]

    def save_pretrained(self, directory: str) -> None:
        self.lobe.model.save_pretrained(directory)
        open_to_umask(directory)
        self.lobe.feature_extractor.save_pretrained(directory)


def _normalized(wav: Tensor) -> Tensor:
    """Each wav of (B, N) with zero mean and unit variance; SpeechBrain adds 1e-5, which quiet speech feels."""
    mean, variance = wav.mean(1, keepdim=True), wav.var(1, keepdim=True, correction=0)
    return (wav - mean) / (variance + 1e-7).sqrt()


def _normalized_within(wav: Tensor, mask: Tensor) -> Tensor:
    """The same of the samples in *mask* (B, N); the others are zero."""
    count = mask.sum(1, keepdim=True)
    wav = (wav - (wav * mask).sum(1, keepdim=True) / count) * mask
    return wav / (wav.square().sum(1, keepdim=True) / count + 1e-7).sqrt()


def _loading(lobe_class: type[Wav2Vec2]) -> type[Wav2Vec2]:
    """The lobe, except that it loads in float32 whatever was stored and notes in ``loaded`` what was missing.

    A directory without preprocessor_config.json is taken for a published model of its architecture: all of them
    normalise the wav but the WavLMs whose first convolution has a group norm (Base and Base+).
    """

    class Lobe(lobe_class):
        def load_feature_extractor(self, source: str, cache_dir: str, **options: Any) -> None:
            directory = Path(source)
            files = ("preprocessor_config.json", "processor_config.json")
            if not directory.is_dir() or any((directory / name).exists() for name in files):
                super().load_feature_extractor(source, cache_dir, **options)
                return
            raw = self.config.model_type == "wavlm" and self.config.feat_extract_norm == "group"
            log.warning(
                "%s: no preprocessor_config.json; the wav is %s, as published models of this architecture have it",
                source,
                "left as it is" if raw else "normalised to zero mean and unit variance",
            )
            self.feature_extractor = Wav2Vec2FeatureExtractor(do_normalize=not raw, return_attention_mask=False)

        def _from_pretrained(self, source: str, save_path: str, *_: Any, **__: Any) -> None:
            self.model, self.loaded = AutoModel.from_pretrained(
                source, config=self.config, cache_dir=save_path, dtype=torch.float32, output_loading_info=True
            )

    return Lobe


def open_lobe(lobe_class: type[Wav2Vec2], config: Config, frozen: bool) -> Wav2Vec2Teacher:
    """Load a lobe from a hub name or a local directory.

    Raises:
        ModelError: the model cannot be loaded, or its weights are those of another; the message says why.
    """
    quiet_transformers()
    cache_dir = config.cache_dir or HF_HUB_CACHE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # a method that SpeechBrain calls was renamed
            lobe = _loading(lobe_class)(config.source, cache_dir, output_all_hiddens=True, freeze=frozen)
    except (OSError, ValueError, RuntimeError, AttributeError, SafetensorError, UnpicklingError) as error:
        raise cannot_load(config.source, error) from error
    check_loaded(config.source, lobe.loaded)
    return Wav2Vec2Teacher(lobe, frozen)


def save_feature_extractor(directory: str, do_normalize: bool) -> None:
    """Write the preprocessor_config.json of a waveform model."""
    Wav2Vec2FeatureExtractor(do_normalize=do_normalize, return_attention_mask=False).save_pretrained(directory)
