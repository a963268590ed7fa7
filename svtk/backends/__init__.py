"""Backends, one file each: hidden states, a list of L+1 (B, T, H), to embeddings (B, E)."""
