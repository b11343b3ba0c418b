"""Perceptual hashes: short codes of images, robust against rescaling, recompression, mirroring and a slight crop.

A hash is the signs of the 128 lowest frequencies of an image's brightness (its discrete cosine transform, without the
mean), as in the well-known pHash, which has 64. Rescaling and recompression change few of them. Mirroring turns the
sign of every odd horizontal frequency, so the hash of a mirrored image follows from the hash. A crop moves all of it,
so every image has a hash for the whole and one for each of five crops, and two images are near if the whole of one
is near any view of the other.

Shape letters: N images, V views of an image (the whole and its crops), W words of 64 bits in a hash.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from x2vlm.constants import HASH_BITS, HASH_DISTANCE

BITS = HASH_BITS
WORDS = BITS // 64
SIDE = 64  # pixels of the small grey copy that is transformed
_TEST_BLOCK = 256  # images of the test set that are compared with a block of the training set
_FEW = 16  # images of the training set, up to which all of the test set is compared at once
CROP = 0.05  # share of a side that a crop lacks

DISTANCE = HASH_DISTANCE
"""Bits in which two hashes may differ; see docs/data.md for what was measured."""

LEAST_CONTRAST = 2.0
"""Standard deviation, in grey levels, below which an image has no hash: blank images are all alike."""

_WHOLE = (0.0, 0.0, 0.0, 0.0)
VIEWS = (
    _WHOLE,
    (CROP, CROP, CROP, CROP),
    (CROP, CROP, 0.0, 0.0),
    (0.0, CROP, CROP, 0.0),
    (CROP, 0.0, 0.0, CROP),
    (0.0, 0.0, CROP, CROP),
)
"""What is cut off at the left, top, right and bottom, as shares of the side."""

# Frequencies (vertical, horizontal) from low to high, the mean left out.
_ORDER = sorted(((i, j) for i in range(20) for j in range(20) if i + j), key=lambda ij: (ij[0] + ij[1], ij[0]))[:BITS]
_ROWS, _COLUMNS = np.array(_ORDER).T
_HIGHEST = int(max(_ROWS.max(), _COLUMNS.max()))


def _basis(low: float, high: float) -> np.ndarray:
    """``[frequencies, SIDE]``: cosines between two shares of a side, integrated over each pixel."""
    edges = np.clip(np.arange(SIDE + 1) / SIDE, low, high)
    phase = np.pi * (edges - low) / (high - low)
    number = np.arange(1, _HIGHEST + 1)[:, None]
    waves = np.diff(np.sin(number * phase) / number, axis=1)
    return np.concatenate([np.diff(phase)[None], waves]).astype(np.float32)


_BASES = [(_basis(top, 1 - bottom), _basis(left, 1 - right)) for left, top, right, bottom in VIEWS]


def _pack_bits(bits: np.ndarray) -> np.ndarray:
    """``[..., BITS]`` bool -> ``[..., W]`` uint64."""
    return np.ascontiguousarray(np.packbits(bits, axis=-1)).view(np.uint64)


_MIRROR = _pack_bits(_COLUMNS % 2 == 1)


def image_hashes(image: np.ndarray) -> np.ndarray | None:
    """The hashes of an image and of its crops.

    Args:
        image: ``[H, W, 3]`` uint8, RGB.

    Returns:
        ``[V, W]`` uint64, the whole first, then crops in the order of :data:`VIEWS`; None for an image with hardly any
        contrast, which cannot be distinguished from others.
    """
    small = Image.fromarray(image).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    grey = np.asarray(small, dtype=np.float32)
    if grey.std() < LEAST_CONTRAST:
        return None
    spectra = np.stack([(vertical @ grey) @ horizontal.T for vertical, horizontal in _BASES])
    return _pack_bits(spectra[:, _ROWS, _COLUMNS] > 0)


def mirrored(hashes: np.ndarray) -> np.ndarray:
    """The hashes ``[..., W]`` of the mirrored images."""
    return hashes ^ _MIRROR


def distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Bits in which hashes differ: ``[n, W]`` and ``[m, W]`` -> ``[n, m]`` uint8."""
    total = np.bitwise_count(left[:, None, 0] ^ right[None, :, 0])
    for word in range(1, left.shape[1]):
        total += np.bitwise_count(left[:, None, word] ^ right[None, :, word])
    return total


class _Comparison:
    """:func:`distances` into preallocated arrays: allocation would take most of the time."""

    def __init__(self, *shape: int) -> None:
        self.differ = np.empty(shape, np.uint64)
        self.bits, self.total = np.empty(shape, np.uint8), np.empty(shape, np.uint8)

    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        window = (slice(len(left)), slice(len(right)))
        differ, bits, total = self.differ[window], self.bits[window], self.total[window]
        for word in range(left.shape[1]):
            np.bitwise_xor(left[:, None, word], right[None, :, word], out=differ)
            np.bitwise_count(differ, out=bits if word else total)
            if word:
                np.add(total, bits, out=total)
        return total


def near_duplicate_pairs(
    train: np.ndarray, test: np.ndarray, most: int = DISTANCE, block: int = 512
) -> Iterator[tuple[int, int, int, bool]]:
    """Near-duplicate images of two sets, whichever of the two was rescaled, recompressed, mirrored or cropped.

    Compares all with all, in blocks that stay in the processor's cache: about 2 nanoseconds for a comparison, of which
    a pair of images takes 22.

    Args:
        train: ``[N, V, W]`` hashes.
        test: ``[M, V, W]`` hashes.
        most: Bits in which two hashes may differ.
        block: Hashes of the training set that are compared at a time.

    Yields:
        Index in ``train``, index in ``test``, the smallest distance, and whether it is that of a mirrored copy; in
        the order of ``train``.
    """
    views = range(train.shape[1])
    # The whole of one with every view of the other; mirroring both at once would change nothing.
    combinations = [(0, v) for v in views] + [(v, 0) for v in views if v]
    test_hashes = {(v, flipped): mirrored(test[:, v]) if flipped else test[:, v] for v in views for flipped in (0, 1)}
    test_block = _TEST_BLOCK if len(train) > _FEW else max(len(test), 1)
    compare = _Comparison(min(block, max(len(train), 1)), test_block)
    for start in range(0, len(train), block):
        nearest: dict[tuple[int, int], tuple[int, bool]] = {}
        for first in range(0, len(test), test_block):
            for train_view, test_view in combinations:
                left = train[start : start + block, train_view]
                for flipped in (False, True):
                    right = test_hashes[test_view, flipped][first : first + test_block]
                    bits = compare(left, right)
                    if bits.min() > most:
                        continue
                    for i, j in np.argwhere(bits <= most).tolist():
                        key, candidate = (start + i, first + j), (int(bits[i, j]), flipped)
                        nearest[key] = min(nearest.get(key, candidate), candidate)
        for (i, j), (distance, flipped) in sorted(nearest.items()):
            yield i, j, distance, flipped
