"""Parameters, activations and memory of a run, computed from a config without building the model."""
