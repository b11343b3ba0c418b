"""Entries and rows of single file formats, by number: JSON trees, plain pickles, parquet, arrow."""
