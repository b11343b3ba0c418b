"""Dataset adapters: a folder for general file formats, folders for public data sets, and what all have in common."""
