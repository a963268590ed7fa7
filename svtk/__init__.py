"""svtk: small, fast speaker verification, distilled from large speech models."""

import svtk.torchaudio_standin  # noqa: F401  (before anything imports torchaudio)

__version__ = "0.1.0"
