import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.fft import dctn

from x2vlm.data.inspection.perceptual_hash import (
    _COLUMNS,
    _ROWS,
    BITS,
    DISTANCE,
    SIDE,
    VIEWS,
    WORDS,
    distances,
    image_hashes,
    mirrored,
    near_duplicate_pairs,
)


def scene(seed, size=(160, 120)):
    """An image of smooth patches, different for every seed: as much contrast at low frequencies as a photograph."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


def altered(image, change):
    image = Image.fromarray(image)
    width, height = image.size
    if change == "half":
        image = image.resize((width // 2, height // 2), Image.Resampling.BICUBIC)
    elif change == "jpeg":
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=40)
        image = Image.open(buffer).convert("RGB")
    elif change == "mirrored":
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    elif change == "cropped":
        image = image.crop((round(0.05 * width), round(0.05 * height), round(0.95 * width), round(0.95 * height)))
    return np.asarray(image)


def bits(hashes):
    return np.unpackbits(np.ascontiguousarray(hashes).view(np.uint8), axis=-1).astype(bool)


def test_a_hash_is_the_signs_of_the_low_frequencies_of_the_cosine_transform():
    image = scene(0, (SIDE, SIDE))
    grey = np.asarray(Image.fromarray(image).convert("L"), dtype=np.float64)
    spectrum = dctn(grey, norm="ortho")
    clear = np.abs(spectrum[_ROWS, _COLUMNS]) > 1e-3  # elsewhere rounding decides
    assert clear.sum() > 0.9 * BITS
    # Integrating over pixels scales every frequency by a positive number: the signs stay.
    assert np.array_equal(bits(image_hashes(image)[0])[clear], (spectrum[_ROWS, _COLUMNS] > 0)[clear])


def test_a_part_has_the_hash_of_the_image_cut_to_it():
    image = scene(1, (200, 200))
    for view, (left, top, right, bottom) in enumerate(VIEWS):
        part = image[round(200 * top) : 200 - round(200 * bottom), round(200 * left) : 200 - round(200 * right)]
        apart = distances(image_hashes(image)[view][None], image_hashes(part)[:1])
        assert apart.item() <= 6, VIEWS[view]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_hash_of_a_mirrored_image_follows_from_the_hash(seed):
    image = scene(seed)
    there = distances(mirrored(image_hashes(image)[:1]), image_hashes(altered(image, "mirrored"))[:1])
    assert there.item() <= 2
    assert np.array_equal(mirrored(mirrored(image_hashes(image))), image_hashes(image))


def test_an_image_without_contrast_has_no_hash():
    assert image_hashes(np.full((30, 40, 3), 200, np.uint8)) is None
    assert image_hashes(scene(0)).shape == (len(VIEWS), WORDS)


def test_distances_count_the_bits_that_differ():
    left, right = np.random.default_rng(0).integers(0, 2**63, (2, 5, WORDS)).astype(np.uint64)
    naive = (bits(left)[:, None] != bits(right)[None]).sum(axis=-1)
    assert np.array_equal(distances(left, right), naive)


@pytest.mark.parametrize("change", ["half", "jpeg", "mirrored", "cropped"])
@pytest.mark.parametrize("altered_one", ["train", "test"])
def test_copies_are_found_among_others_whichever_side_was_altered(change, altered_one):
    originals = np.stack([image_hashes(scene(seed)) for seed in range(20)])
    copies = np.stack([image_hashes(altered(scene(seed), change)) for seed in range(5, 10)])
    train, test = (copies, originals) if altered_one == "train" else (originals, copies)
    actual = [(i, j) if altered_one == "train" else (j, i) for i, j, _, _ in near_duplicate_pairs(train, test)]
    assert sorted(actual) == [(copy, copy + 5) for copy in range(5)]


def test_whether_a_copy_is_mirrored_is_reported():
    hashes = image_hashes(scene(0))[None]
    other = image_hashes(altered(scene(0), "mirrored"))[None]
    assert [flipped for *_, flipped in near_duplicate_pairs(hashes, hashes)] == [False]
    assert [flipped for *_, flipped in near_duplicate_pairs(hashes, other)] == [True]


def test_blocks_of_any_size_find_the_same_pairs_as_comparing_one_by_one():
    rng = np.random.default_rng(0)
    train = rng.integers(0, 2**63, (50, len(VIEWS), WORDS)).astype(np.uint64)
    test = train[rng.permutation(50)[:30]] ^ np.uint64(0b1011)
    most = 50  # so many that unrelated ones are near as well
    naive = {}
    for i, ours in enumerate(train):
        for j, theirs in enumerate(test):
            both = [(0, v) for v in range(len(VIEWS))] + [(v, 0) for v in range(len(VIEWS))]
            plain = min(distances(ours[a][None], theirs[b][None]).item() for a, b in both)
            flipped = min(distances(ours[a][None], mirrored(theirs[b])[None]).item() for a, b in both)
            if min(plain, flipped) <= most:
                naive[i, j] = (min(plain, flipped), flipped < plain)
    for block in (7, 50, 4096):
        actual = {(i, j): (apart, flipped) for i, j, apart, flipped in near_duplicate_pairs(train, test, most, block)}
        assert actual == naive


def test_the_recommended_distance_is_far_from_that_of_unrelated_images():
    hashes = np.stack([image_hashes(scene(seed)) for seed in range(40)])
    apart = distances(hashes[:, 0], hashes[:, 0])[~np.eye(40, dtype=bool)]
    assert apart.min() > DISTANCE
