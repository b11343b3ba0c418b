"""Transforms of images, with their boxes moved along: load, crop, flip, augment, mask patches."""
