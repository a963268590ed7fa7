"""Distillation and backend training on SpeechBrain's Brain."""
