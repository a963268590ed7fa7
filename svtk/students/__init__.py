"""Student encoders, one file each: projected frames (B, T, H) to hidden states, a list of L+1 (B, T, H)."""
