"""Re-ranking: matching logits of the nearest candidates, with keys and values of each image projected once."""
