"""The workloads of the benchmark: training steps, inference, data loading, with their models and batches."""
