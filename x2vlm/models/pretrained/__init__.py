"""A model as one folder: config, weights, tokenizer, model card; and the Hugging Face hub."""
