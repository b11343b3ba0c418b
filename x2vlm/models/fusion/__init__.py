"""The fusion encoder: texts read with their contexts."""
