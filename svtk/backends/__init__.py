"""Backends, one file each: hidden states (B, L+1, T, H) to embeddings (B, E)."""
