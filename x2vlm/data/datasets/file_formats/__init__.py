"""Adapters of file formats, for any data set: JSON lines, COCO, tables, folders, tar shards, Hugging Face, text."""
