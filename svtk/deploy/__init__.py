"""Size, compute and speed of models."""
