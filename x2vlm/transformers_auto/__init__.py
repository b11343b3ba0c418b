"""Model folders in transformers: `AutoConfig`, `AutoModel` and `AutoProcessor`."""
