"""The fusion encoder: cross-attention of texts to their contexts."""
