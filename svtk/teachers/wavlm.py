"""WavLM (Chen et al., 2022), from the hub or a local directory, through SpeechBrain's lobe."""

from __future__ import annotations

import dataclasses
import tempfile

from svtk.teachers._base import quiet_transformers
from svtk.teachers._wav2vec2_family import Config, Wav2Vec2Teacher, open_lobe, save_feature_extractor

__all__ = ["Config", "NewModel", "build", "create"]


@dataclasses.dataclass(frozen=True)
class NewModel:
    """Sizes of a WavLM to be trained from scratch (``svtk train-teacher``)."""

    hidden_dim: int = 128
    num_layers: int = 4
    num_heads: int = 4
    ffn_dim: int = 512
    conv_channels: int = 64
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if min(self.hidden_dim, self.num_layers, self.num_heads, self.ffn_dim, self.conv_channels) < 1:
            raise ValueError("hidden_dim, num_layers, num_heads, ffn_dim and conv_channels must be positive")
        if self.hidden_dim % self.num_heads:
            raise ValueError(f"hidden_dim {self.hidden_dim} is not a multiple of num_heads {self.num_heads}")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must lie in [0, 1)")


def build(config: Config, *, frozen: bool = True) -> Wav2Vec2Teacher:
    """The pretrained WavLM."""
    from speechbrain.integrations.huggingface.wavlm import WavLM

    return open_lobe(WavLM, config, frozen)


def create(new: NewModel) -> Wav2Vec2Teacher:
    """A new WavLM with random weights (drawn from torch's generator), loaded as any pretrained one."""
    from transformers import WavLMConfig, WavLMModel

    config = WavLMConfig(
        hidden_size=new.hidden_dim,
        num_hidden_layers=new.num_layers,
        num_attention_heads=new.num_heads,
        intermediate_size=new.ffn_dim,
        conv_dim=[new.conv_channels] * len(new.conv_kernels),
        conv_kernel=list(new.conv_kernels),
        conv_stride=list(new.conv_strides),
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=max(1, new.hidden_dim // 16),
        hidden_dropout=new.dropout,
        attention_dropout=new.dropout,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        layerdrop=0.0,
        do_stable_layer_norm=True,
        apply_spec_augment=False,
    )
    quiet_transformers()
    with tempfile.TemporaryDirectory() as directory:
        WavLMModel(config).save_pretrained(directory)
        save_feature_extractor(directory, do_normalize=True)
        return build(Config(source=directory), frozen=False)
