"""Losses, one file each: knowledge distillation (KD) and speaker verification (SV)."""
