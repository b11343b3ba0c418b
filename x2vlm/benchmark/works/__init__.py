"""What is measured: training steps, inference, reading data, and the models and batches for it."""
