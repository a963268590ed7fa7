"""WavLM, HuBERT and wav2vec 2.0 through SpeechBrain's Hugging Face lobes, which share one interface."""

from __future__ import annotations

import dataclasses

import torch
from huggingface_hub.constants import HF_HUB_CACHE
from speechbrain.integrations.huggingface.wav2vec2 import Wav2Vec2
from torch import Tensor
from transformers import Wav2Vec2FeatureExtractor

from svtk.errors import ModelError
from svtk.teachers._base import Teacher, quiet_transformers

__all__ = ["Config", "Wav2Vec2Teacher", "open_lobe", "save_feature_extractor"]


@dataclasses.dataclass(frozen=True)
class Config:
    """``source``: a Hugging Face hub name or a local directory; ``cache_dir``: where downloads go."""

    source: str
    cache_dir: str | None = None


class Wav2Vec2Teacher(Teacher):
    """Any model of the wav2vec 2.0 family; its preprocessor says whether the wav is normalised first."""

    def __init__(self, lobe: Wav2Vec2, frozen: bool):
        super().__init__(frozen)
        self.lobe = lobe
        self.hidden_dim = lobe.model.config.hidden_size
        self.num_hidden = lobe.model.config.num_hidden_layers + 1
        self.freeze_if_asked()

    def num_frames(self, num_samples: int) -> int:
        config = self.lobe.model.config
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            num_samples = (num_samples - kernel) // stride + 1
        return num_samples

    def forward(self, wav: Tensor) -> list[Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return list(self.lobe(wav))

    def save_pretrained(self, directory: str) -> None:
        self.lobe.model.save_pretrained(directory)
        self.lobe.feature_extractor.save_pretrained(directory)


def open_lobe(lobe_class: type[Wav2Vec2], config: Config, frozen: bool) -> Wav2Vec2Teacher:
    """Load a lobe from a hub name or a local directory.

    Raises:
        ModelError: the model cannot be loaded; the message says why.
    """
    quiet_transformers()
    try:
        lobe = lobe_class(config.source, config.cache_dir or HF_HUB_CACHE, output_all_hiddens=True, freeze=frozen)
    except (OSError, ValueError, RuntimeError, AttributeError) as error:
        raise ModelError(
            f"cannot load the teacher: {str(error).splitlines()[0]}",
            path=config.source,
            mend="give a hub name, or a directory with config.json, model.safetensors, preprocessor_config.json",
        ) from error
    return Wav2Vec2Teacher(lobe, frozen)


def save_feature_extractor(directory: str, do_normalize: bool) -> None:
    """Write the preprocessor_config.json of a waveform model."""
    Wav2Vec2FeatureExtractor(do_normalize=do_normalize, return_attention_mask=False).save_pretrained(directory)
