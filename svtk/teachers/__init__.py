"""Frozen pretrained teachers, one file per architecture family: wav (B, N) to hidden states."""
