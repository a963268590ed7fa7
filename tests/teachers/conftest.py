"""Tiny models of every architecture, saved as Hugging Face saves them."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

FAMILY = {
    "wavlm": (WavLMConfig, WavLMModel),
    "hubert": (HubertConfig, HubertModel),
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
    "data2vec_audio": (Data2VecAudioConfig, Data2VecAudioModel),
}
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
LARGE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}  # as the large models have it


@pytest.fixture
def save(tmp_path):
    """Save a model of an architecture with random weights; returns the model and its directory."""

    def make(name, *, large=False, do_normalize=True, dtype=torch.float32, **options):
        torch.manual_seed(7)
        config_class, model_class = FAMILY[name]
        model = model_class(config_class(**SIZES, **(LARGE if large else {}), **options)).eval()
        directory = tmp_path / "saved"
        model.to(dtype).save_pretrained(directory)
        Wav2Vec2FeatureExtractor(do_normalize=do_normalize, return_attention_mask=False).save_pretrained(directory)
        return model.float(), directory

    return make


@pytest.fixture
def save_whisper(tmp_path):
    """Save a Whisper encoder with random weights; its positions last *seconds*."""

    def make(seconds=30, dtype=torch.float32, **options):
        torch.manual_seed(7)
        sizes = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 24}
        config = WhisperConfig(**{**sizes, "num_mel_bins": 80, "max_source_positions": seconds * 50, **options})
        encoder = WhisperEncoder(config).eval()
        encoder.to(dtype).save_pretrained(tmp_path / "saved")
        return encoder.float(), tmp_path / "saved"

    return make
