"""svtk: small, fast speaker verification, distilled from large speech models."""

__version__ = "0.1.0"
