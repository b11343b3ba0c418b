"""Transforms of texts: which one of a record, in which language, cleaned up."""
