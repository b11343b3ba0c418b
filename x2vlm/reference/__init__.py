"""The published computation without optimisations: reference of the tests and of the benchmark."""
