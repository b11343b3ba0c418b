import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from x2vlm.data.io.image_decoding import FORMATS, decode_image
from x2vlm.data.record import RecordError

RED = (200, 30, 30)


def encoded(format="PNG", mode="RGB", color=RED, **options):
    buffer = io.BytesIO()
    Image.new(mode, (8, 4), color).save(buffer, format, **options)
    return buffer.getvalue()


def test_a_path_its_bytes_and_its_array_give_the_same_image(tmp_path, png):
    (tmp_path / "a.png").write_bytes(png(RED, (8, 4)))
    images = [
        decode_image(source, "w")
        for source in (tmp_path / "a.png", str(tmp_path / "a.png"), png(RED, (8, 4)), np.full((4, 8, 3), RED, np.uint8))
    ]
    for image in images:
        assert image.shape == (4, 8, 3)
        assert image.dtype == np.uint8
        assert (image == RED).all()


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("L", 90, (90, 90, 90)),
        ("RGBA", (200, 30, 30, 0), RED),
        ("1", 1, (255, 255, 255)),
        ("LA", (90, 0), (90, 90, 90)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 257 * 90, (90, 90, 90)),
    ],
)
def test_every_mode_becomes_rgb(mode, color, expected):
    assert (decode_image(encoded(mode=mode, color=color), "w") == expected).all()


def test_a_palette_with_transparency_becomes_rgb_without_a_warning(recwarn):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, *RED])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=b"\x00\x80")
    assert (decode_image(buffer.getvalue(), "w") == RED).all()
    assert not recwarn.list


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_read(format):
    options = {"lossless": True} if format == "WEBP" else {}
    assert np.abs(decode_image(encoded(format, **options), "w").astype(int) - RED).max() <= 3


def test_an_image_is_not_turned_by_its_exif_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(encoded("JPEG", exif=exif), "w").shape == (4, 8, 3)


def by_pillow(data):
    """What Pillow makes of a file, or the kind of its complaint."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        return type(error)


def by_us(data):
    try:
        return decode_image(data, "w")
    except RecordError as error:
        return type(error.__cause__)


def photograph(height=37, width=51, mode="RGB", **options):
    """A JPEG file of noise on a slope, whose sides are no multiple of a block."""
    rng, buffer = np.random.default_rng(0), io.BytesIO()
    slope = np.linspace(0, 255, width)[None, :, None] * np.ones((height, 1, 3))
    image = (slope + rng.normal(0, 25, slope.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(image).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(37, 51), (8, 8), (1, 1), (1, 40), (64, 33)])
@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": "4:2:0"},
        {"subsampling": "4:2:2"},
        {"subsampling": "4:4:4", "quality": 95},
        {"quality": 20, "progressive": True},
        {"restart_marker_rows": 1, "optimize": True},
        {"keep_rgb": True},
        {"mode": "L"},
        {"mode": "CMYK"},
    ],
    ids=str,
)
def test_a_jpeg_is_decoded_to_the_pixels_of_pillow(size, options):
    data = photograph(*size, **options)
    assert np.array_equal(decode_image(data, "w"), by_pillow(data))


def test_most_jpegs_are_not_decoded_by_pillow(monkeypatch):
    data = photograph()
    expected = by_pillow(data)
    monkeypatch.setattr(Image.Image, "convert", None)
    assert np.array_equal(decode_image(data, "w"), expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_anywhere_is_refused_where_pillow_refuses_it(progressive):
    data = photograph(progressive=progressive, quality=40)
    for length in [*range(0, len(data) - 8, 23), *range(len(data) - 8, len(data) + 1)]:
        ours, theirs = by_us(data[:length]), by_pillow(data[:length])
        assert np.array_equal(ours, theirs), length


@pytest.mark.filterwarnings("ignore")
@given(positions=st.lists(st.tuples(st.floats(0, 0.99), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_jpeg_is_what_pillow_makes_of_it(positions):
    data = bytearray(photograph(quality=60))
    for share, value in positions:
        data[int(share * len(data))] = value
    ours, theirs = by_us(bytes(data)), by_pillow(bytes(data))
    if isinstance(theirs, np.ndarray) and isinstance(ours, np.ndarray):
        assert np.array_equal(ours, theirs)
    else:
        assert not isinstance(ours, np.ndarray)


def test_a_missing_file_names_the_record_and_the_file(tmp_path):
    with pytest.raises(RecordError, match=r"^train:3: .*gone\.jpg: No such file"):
        decode_image(tmp_path / "gone.jpg", "train:3")


@pytest.mark.parametrize("format", FORMATS)
def test_an_image_that_is_cut_short_names_the_record(format):
    data = encoded(format)
    with pytest.raises(RecordError, match=r"^train:3: image of \d+ bytes"):
        decode_image(data[: len(data) // 2], "train:3")


@pytest.mark.parametrize("data", [b"", b"not an image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_what_is_no_image_names_the_record(data):
    with pytest.raises(RecordError, match=r"^train:3: image of \d+ bytes (is broken or not one of|is empty)"):
        decode_image(data, "train:3")


def bomb(width, height):
    """A PNG of a few bytes whose header promises that many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return b"\x89PNG\r\n\x1a\n" + chunk + encoded()[33:]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 60_000])
def test_an_image_with_too_many_pixels_is_refused_before_it_is_unpacked(side):
    with pytest.raises(RecordError, match=r"^w: .*(over the limit of 89,478,485|decompression bomb)"):
        decode_image(bomb(side, side), "w")


def test_the_limits_can_be_set(tmp_path, png):
    (tmp_path / "a.png").write_bytes(png(size=(8, 8)))
    with pytest.raises(RecordError, match=r"8x8 pixels, over the limit of 63 \(max_pixels\)"):
        decode_image(png(size=(8, 8)), "w", max_pixels=63)
    for source in (png(), tmp_path / "a.png"):
        with pytest.raises(RecordError, match=r"larger than the limit of 9 bytes \(max_bytes\)"):
            decode_image(source, "w", max_bytes=9)


@pytest.mark.parametrize("array", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_an_array_of_another_shape_is_refused(array):
    with pytest.raises(RecordError, match=r"expected an \[H, W, 3\] uint8 image"):
        decode_image(array, "w")


@pytest.mark.filterwarnings("ignore")
@given(format=st.sampled_from(FORMATS), damage=st.lists(st.tuples(st.floats(0, 0.99), st.integers(0, 255)), max_size=4))
def test_damage_gives_an_image_or_a_record_error_and_nothing_else(format, damage):
    data = bytearray(encoded(format))
    for share, value in damage:
        data[int(share * len(data))] = value
    try:
        assert decode_image(bytes(data), "w").ndim == 3
    except RecordError as error:
        assert error.where == "w"


def test_an_orientation_is_applied_only_if_asked_for(tmp_path):
    picture, exif = Image.new("RGB", (8, 4)), Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert decode_image(tmp_path / "a.jpg", "w").shape == (4, 8, 3)
    assert decode_image(tmp_path / "a.jpg", "w", exif=True).shape == (8, 4, 3)


@pytest.mark.parametrize(("dtype", "most"), [(np.uint16, 2**16 - 1), (np.int32, 2**31 - 1), (np.float32, 1.0)])
def test_deep_greys_are_scaled(tmp_path, dtype, most):
    levels = np.array([[0, most]] * 2, dtype=dtype)
    Image.fromarray(levels).save(tmp_path / "a.tif")
    got = decode_image(tmp_path / "a.tif", "w")[0, :, 0].tolist()
    assert got[0] == 0 and got[1] in (255, 127)  # 32 bits are signed: the greatest is half of all


def test_avif_is_read(tmp_path):
    from PIL import features

    if not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    Image.new("RGB", (16, 8), (200, 30, 30)).save(tmp_path / "a.avif")
    assert abs(int(decode_image(tmp_path / "a.avif", "w")[0, 0, 0]) - 200) < 10
