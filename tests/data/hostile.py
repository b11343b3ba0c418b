"""Seeded damage: values, texts, images, clips and tar files as nobody should hand them out, and somebody will."""

import io
import json
import random
import struct
import tarfile
import zlib
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
from PIL import Image

DEEP, HUGE = "@deep@", "@huge@"
"""Stand-ins for what ``json.dumps`` refuses to write: see :func:`as_line`."""

NAMES = (
    "",
    ".",
    "..",
    "../secret.png",
    "a/../../secret.png",
    "/etc/hostname",
    "/dev/zero",
    "/dev/stdin",
    "link_out.png",
    "pipe.png",
    "folder",
    "gone.png",
    "nul\0.png",
    "half\ud800.png",
    "n" * 5000 + ".png",
    "file:///etc/hostname",
    "s3://bucket/a.png",
    "http://localhost:1/a.png",
    "~/a.png",
    "*.png",
)
TEXTS = (
    "",
    " ",
    "\n",
    "\ufeff",
    "a\0b",
    "\x1b[2Jred",
    "half \ud800 a sign",
    "\udfff",
    "\u202egnirts",
    "e\u0301" * 400,
    "w" * 50_000,
    "a b " * 60_000,
    "[SEP] [CLS] [MASK] [PAD]",
    "{0.__class__}",
    "%s%n",
    "<person> left",
)
NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**70), 10**30, 10**400, 0.5, -0.0, 1e-320, 1e308, float("inf"), float("nan"))
OTHERS = (None, True, False, [], {}, [[]], [None], {"": None}, {"a": {"b": []}}, [1, "a", None], DEEP, HUGE)
BOXES = (
    [0, 0, 0, 0],
    [-5, -5, 3, 3],
    [4, 4, -3, -3],
    [0, 0, 1e9, 1e9],
    [float("nan")] * 4,
    [float("inf"), 0, 1, 1],
    [0, 0, 8, float("-inf")],
    [10**400, 0, 1, 1],
    [1, 2, 3],
    [1, 2, 3, 4, 5],
    ["1", "2", "3", "4"],
    [[1, 1], [2, 2]],
    "0 0 4 4",
    {"x": 0, "y": 0, "w": 4, "h": 4},
    None,
)


def value(rng: random.Random) -> Any:
    """Something that should not be here."""
    return deepcopy(rng.choice(rng.choice((NAMES, TEXTS, NUMBERS, OTHERS, BOXES))))


def mutated(tree: Any, rng: random.Random) -> Any:
    """A copy of a JSON value in which some place holds another value, is gone, or is there many times."""
    tree = deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        holder, key = _place(tree, rng)
        if holder is None:
            return value(rng)
        act = rng.randrange(10)
        if act < 7:
            box = key in ("bb", "bbox", "boxes") and rng.random() < 0.7
            holder[key] = deepcopy(rng.choice(BOXES)) if box else value(rng)
        elif act == 7:
            del holder[key]
        elif isinstance(holder, list):
            holder.extend([holder[key]] * rng.choice((1, 50)))
        else:
            holder[rng.choice(TEXTS)] = holder[key]
    return tree


def _place(tree: Any, rng: random.Random) -> tuple[Any, Any]:
    holder, key = None, None
    while isinstance(tree, dict | list) and tree:
        holder, key = tree, rng.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
        if not isinstance(holder[key], dict | list) or rng.random() < 0.3:
            break
        tree = holder[key]
    return holder, key


def as_line(tree: Any) -> bytes:
    """One line of JSON, in which stand-ins are what they stand for; no newline at its end."""
    text = json.dumps(tree)
    text = text.replace(f'"{DEEP}"', "[" * 3000 + "]" * 3000).replace(f'"{HUGE}"', "9" * 6000)
    return text.encode()


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes with some changed, inserted, left out, doubled, or cut off."""
    work = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        start = rng.randrange(len(work) + 1)
        stop = min(len(work), start + rng.choice((1, 2, 4, 16, 200)))
        act = rng.randrange(7)
        if act == 0:
            del work[start:]
        elif act == 1:
            del work[start:stop]
        elif act == 2:
            work[start:start] = rng.choice(
                (b"\xff\xfe", b"\xef\xbb\xbf", b"\0", b"\xc3", b"\xed\xa0\x80", b"\r", b"\x1a")
            )
        elif act == 3:
            work[start:stop] = rng.randbytes(stop - start)
        elif act == 4:
            work[start:start] = work[start:stop]
        elif act == 5:
            work[start:stop] = rng.choice((b"\0", b"\xff")) * (stop - start)
        else:
            for position in range(start, stop, rng.choice((1, 3))):
                work[position] ^= 1 << rng.randrange(8)
    return bytes(work)


def sized_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises that many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return b"\x89PNG\r\n\x1a\n" + chunk + _saved("RGB", "PNG")[33:]


def _saved(mode: str, form: str, **options: Any) -> bytes:
    grain = np.random.default_rng(0).integers(0, 255, (20, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(grain)
    image = Image.new("I;16", image.size, 40_000) if mode == "I;16" else image.convert(mode)
    image.save(buffer, form, **options)
    return buffer.getvalue()


def images() -> list[bytes]:
    """Whole images of all formats and modes that turn up."""
    turned = Image.Exif()
    turned[0x0112] = 6
    more = [Image.new("P", (24, 20), level) for level in (50, 100)]
    return [
        *(_saved("RGB", form) for form in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")),
        *(_saved(mode, "PNG") for mode in ("1", "L", "LA", "P", "RGBA", "I;16")),
        *(_saved(mode, "JPEG") for mode in ("L", "CMYK")),
        _saved("RGB", "JPEG", exif=turned),
        _saved("RGB", "JPEG", progressive=True),
        _saved("P", "PNG", transparency=b"\x00\x80"),
        _saved("P", "GIF", save_all=True, append_images=more),
        _saved("RGB", "WEBP", save_all=True, append_images=[entry.convert("RGB") for entry in more]),
        _saved("RGB", "TIFF", compression="tiff_lzw"),
        _saved("CMYK", "TIFF"),
    ]


_NO_IMAGES = (
    b"",
    b"\0",
    b"GIF89a",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    b"<svg/>",
    b"\x80\x04K\x01.",
)


def image(rng: random.Random, whole: list[bytes]) -> bytes:
    """An image that is damaged, no image at all, or promises more pixels than there are."""
    act = rng.randrange(10)
    if act == 0:
        return rng.choice(_NO_IMAGES)
    if act == 1:
        return sized_png(
            *rng.choice(((50_000, 50_000), (1, 2**31 - 1), (0, 5), (2**31, 2**31), (9_400, 9_400), (1, 1)))
        )
    return rng.choice(whole) if act == 2 else damaged(rng.choice(whole), rng)


def clips(write_clip: Callable) -> list[bytes]:
    """Whole clips of several containers, by the fixture that writes them."""
    return [write_clip(frames=9, name=f"whole.{end}").read_bytes() for end in ("mp4", "mkv", "avi", "mov")]


def clip(rng: random.Random, whole: list[bytes]) -> bytes:
    """A clip that is damaged, or something else."""
    return rng.choice((*_NO_IMAGES, sized_png(8, 8))) if rng.random() < 0.1 else damaged(rng.choice(whole), rng)


_KINDS = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, b"?")
_PAX = (
    {"size": "-512"},
    {"size": "9" * 30},
    {"size": "many"},
    {"path": "p" * 70_000},
    {"path": "../../outside.jpg"},
    {"path": "a\0b.jpg"},
    {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "s.jpg",
        "GNU.sparse.realsize": "99999999999",
    },
    {"GNU.sparse.map": "0,x"},
    {"GNU.sparse.size": "10", "GNU.sparse.numblocks": "1", "GNU.sparse.offset": "z"},
    {"mtime": "nan"},
    {"hdrcharset": "BINARY", "path": "\udc80.jpg"},
    {"": ""},
)


def tar(members: list[tuple[str, bytes]], rng: random.Random) -> bytes:
    """A tar file with these members: names, kinds, sizes and extended headers lie, or its bytes are damaged."""
    buffer = io.BytesIO()
    act = rng.randrange(8)
    with tarfile.open(fileobj=buffer, mode="w", format=rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))) as out:
        for name, data in members:
            info, evil = tarfile.TarInfo(name), rng.random() < 0.2
            info.size = len(data)
            if evil and act == 0:
                info.name = rng.choice([entry for entry in NAMES if entry.isprintable() and "\ud800" not in entry])
            elif evil and act == 1:
                info.type, info.linkname, info.size = rng.choice(_KINDS), rng.choice(("/etc/hostname", name)), 0
            elif evil and act == 2 and out.format == tarfile.PAX_FORMAT:
                info.pax_headers = dict(rng.choice(_PAX))
            try:
                out.addfile(info, io.BytesIO(data[: info.size]))
            except (ValueError, UnicodeError):
                continue  # what tarfile itself refuses to write
            if evil and act == 3:
                out.addfile(info, io.BytesIO(data))  # the same name twice
    raw = bytearray(buffer.getvalue())
    if act == 4:
        return bytes(raw[: rng.randrange(len(raw) + 1)])
    if act == 5:
        lie_about_size(raw, rng)
    return damaged(bytes(raw), rng) if act >= 6 else bytes(raw)


def lie_about_size(raw: bytearray, rng: random.Random) -> None:
    """Another size in the header of one member, and the checksum that goes with it."""
    heads = [at for at in range(0, len(raw) - 511, 512) if raw[at + 257 : at + 262] == b"ustar"]
    if not heads:
        return
    at = rng.choice(heads)
    sizes = (
        b"77777777777\0",
        b"00000000000\0",
        b"00000001000\0",
        b"\x80" + b"\xff" * 11,
        b"\xff" * 12,
        b"-0000001000\0",
    )
    raw[at + 124 : at + 136] = rng.choice((*sizes, b"\xff" * 10 + b"\xfc\x00"))  # also minus 1024: backwards
    raw[at + 148 : at + 156] = b" " * 8
    raw[at + 148 : at + 156] = b"%06o\0 " % sum(raw[at : at + 512])
