"""HuBERT (Hsu et al., 2021), from the hub or a local directory, through SpeechBrain's lobe."""

from __future__ import annotations

from svtk.teachers._wav2vec2_family import Config, Wav2Vec2Teacher, open_lobe

__all__ = ["Config", "build"]


def build(config: Config, *, frozen: bool = True) -> Wav2Vec2Teacher:
    """The pretrained model."""
    from speechbrain.integrations.huggingface.hubert import HuBERT

    return open_lobe(HuBERT, config, frozen)
