"""Scores of trials and metrics of scores; nothing here imports torch."""
