"""data2vec-audio (Baevski et al., 2022), from the hub or a local directory, through SpeechBrain's wav2vec 2.0 lobe."""

from __future__ import annotations

from svtk.teachers._wav2vec2_family import Config, Wav2Vec2Teacher, open_lobe

__all__ = ["Config", "build"]


def build(config: Config, *, frozen: bool = True) -> Wav2Vec2Teacher:
    """The pretrained model."""
    from speechbrain.integrations.huggingface.wav2vec2 import Wav2Vec2

    return open_lobe(Wav2Vec2, config, frozen)
