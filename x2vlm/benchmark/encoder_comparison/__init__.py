"""Text encoders compared with transformers, and backbones of timm: which of them serve."""
