"""What other libraries expect: transformers' Auto classes, models by name, model cards."""
