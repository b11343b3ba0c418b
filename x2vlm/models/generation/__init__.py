"""Generation token by token: searches, the KV cache, the answer decoder."""
