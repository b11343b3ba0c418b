"""From samples to a batch: padding, token masking, label and answer tensors, captions learned left to right."""
