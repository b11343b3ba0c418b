"""Pre-training lists from raw sets: what is packed, what is held out, and the report."""
