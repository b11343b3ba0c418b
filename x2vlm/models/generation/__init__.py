"""Texts written token by token: searches, the cache of keys and values, the answer decoder."""
