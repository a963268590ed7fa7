"""Frontends, one file each: wav (B, N) to projected frames (B, T, H), one frame per 20 ms."""
