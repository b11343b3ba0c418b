"""Numbers that several rooms agree on."""

IGNORE_INDEX = -100
"""A label, a masked position or an answer that no loss and no metric counts, as in
:func:`torch.nn.functional.cross_entropy`."""

LEAKAGE_METHODS = ("ids", "pictures")
"""What a training set and a test set are compared by: identities, or perceptual hashes of images."""

HASH_BITS = 128
"""Bits of the perceptual hash of an image."""

HASH_DISTANCE = 24
"""Bits in which the hashes of near-duplicate images may differ."""
