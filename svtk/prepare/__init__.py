"""Corpora to Kaldi data directories and Lhotse manifests."""
