"""Transforms of one record: image, boxes, text, labels, frames."""
