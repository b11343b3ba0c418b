"""The published computation, written plainly: the oracle of tests and the other side of the benchmark."""
