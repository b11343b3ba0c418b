"""Dataset adapters: one file for each annotation format, and what they have in common."""
