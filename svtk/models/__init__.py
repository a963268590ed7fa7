"""Whole models: frontend + student (or teacher) + backend, their windows and their MODEL_DIR."""
