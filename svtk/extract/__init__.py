"""Teacher targets and embeddings."""
