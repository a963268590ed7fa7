"""Kaldi's files: tables (archives and scripts), data directories, trial lists, scores. kaldiio only here."""
