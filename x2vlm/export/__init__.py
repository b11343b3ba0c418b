"""Export of a trained model to graphs that run without this library: ONNX and torch.export."""
