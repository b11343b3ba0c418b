"""A record encoded for a tar shard: its line of the index, the members of the tar file, and a digest of its content."""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.inspection.decode_media import DecodeMedia
from x2vlm.data.io.annotations import read_captions
from x2vlm.data.io.image_decoding import FORMATS
from x2vlm.data.io.limits import MAX_BYTES
from x2vlm.data.io.paths import read_bytes
from x2vlm.data.io.record_codec import MEMBER, map_media
from x2vlm.data.record import Record, RecordError

_EXTENSIONS = {"JPEG": "jpg", "TIFF": "tif"}  # others are the format in lower case


@dataclass(frozen=True)
class ShardRecord:
    """A record encoded for a shard.

    Attributes:
        line: Its line of the index, but for the name of the tar file.
        members: Its images and videos: name in the tar file and bytes, in order.
        digest: SHA-256 of all of the record's content, to compare with what is read back.
        counts: Numbers that are added up for the shard's entry in the manifest.
    """

    line: dict[str, Any]
    members: list[tuple[str, bytes]]
    digest: str
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ExcludedRecord:
    """A record that is left out on purpose.

    Attributes:
        line: What is kept of it: a line of JSON in ``NAME.excluded``.
    """

    line: dict[str, Any]


class EncodeRecord:
    """Encode a whole record as a line of an index and the members of a tar file.

    Args:
        decode: Decode its images and videos, so that broken ones are found now and not in training.
        max_bytes: Larger files are bad records.
    """

    def __init__(self, decode: bool = True, max_bytes: int = MAX_BYTES) -> None:
        self.decode = DecodeMedia() if decode else None
        self.max_bytes = max_bytes

    def __call__(self, adapter: Adapter, index: int) -> ShardRecord:
        """The encoded record.

        Raises:
            RecordError: If it cannot be read, or holds what JSON cannot.
        """
        record = adapter.record(index)
        encoded = encode_record(record, index, self.max_bytes)
        if self.decode is not None:
            self._decode(record)
        return encoded

    def _decode(self, record: Record) -> None:
        for shown in ({**record, "clips": None}, *(record.get("clips") or ())):
            self.decode({**shown, "where": record["where"]})


def encode_record(record: Record, index: int, max_bytes: int = MAX_BYTES) -> ShardRecord:
    """A record as a line of an index and the members of a tar file; nothing is decoded.

    Args:
        record: As adapters make it.
        index: Its number, which names its members.
        max_bytes: Larger files are bad records.

    Raises:
        RecordError: If a file cannot be read, or the record holds what JSON cannot.
    """
    where = record["where"]
    members: list[tuple[str, bytes]] = []

    def add_member(source: Any) -> dict[str, str]:
        data, extension = _read_media(source, where, max_bytes)
        number = f"-{len(members)}" if members else ""
        members.append((f"{index:09d}{number}.{extension}", data))
        return {MEMBER: members[-1][0]}

    tree = map_media({key: value for key, value in record.items() if key not in ("where", "id")}, add_member)
    if "caption" in tree:
        caption = read_captions(tree, "caption", where)
        tree = {key: value for key, value in tree.items() if key != "caption"}
        tree |= {} if caption is None else {"caption": caption}
    tree = as_json({"extras": {}, **tree}, where)
    line = {"key": str(record["id"]), **_index_line(tree)}
    return ShardRecord(line, members, _digest(line["key"], tree, dict(members).__getitem__))


def _index_line(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Image, captions, elements and extras under the keys of ``TarShards``, everything else under ``fields``."""
    names = {"image": MEMBER, "caption": "captions", "elems": "elems", "extras": "extras"}
    line = {key: tree[name] for name, key in names.items() if name in tree}
    if MEMBER in line:
        line[MEMBER] = line[MEMBER][MEMBER]
    fields = {name: value for name, value in tree.items() if name not in names}
    if not line["extras"]:
        del line["extras"]
    return line | ({"fields": fields} if fields or MEMBER not in line else {})


def _read_media(source: Any, where: str, max_bytes: int) -> tuple[bytes, str]:
    """The bytes of an image or a video, and the extension of its member's name."""
    if isinstance(source, np.ndarray):
        buffer = io.BytesIO()
        Image.fromarray(source).save(buffer, "PNG")
        return buffer.getvalue(), "png"
    if isinstance(source, bytes):
        if len(source) > max_bytes:
            raise RecordError(where, f"{len(source):,} bytes, over the limit of {max_bytes:,} bytes (max_bytes)")
        return source, _extension_of(source)
    data = read_bytes(source, where, max_bytes)
    extension = Path(source).suffix.lower().lstrip(".")
    return data, extension if extension.isalnum() else _extension_of(data)


def _extension_of(data: bytes) -> str:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _EXTENSIONS.get(image.format, image.format.lower())
    except (OSError, SyntaxError, ValueError):  # a video, or broken, which decoding finds out
        return "bin"


def as_json(value: Any, where: str) -> Any:
    """A value as JSON gives it back: lists for tuples, numbers for NumPy's.

    Raises:
        RecordError: If JSON cannot hold it.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if np.isfinite(value):
            return value
        raise RecordError(where, f"cannot be written to an index: {value} is not a number of JSON")
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: as_json(inner, where) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner, where) for inner in value]
    raise RecordError(where, f"cannot be written to an index: {type(value).__name__} {value!r:.60} is not of JSON")


def record_digest(record: Record) -> str:
    """The digest of a record that was read back through ``TarShards``; equal to that of its :class:`ShardRecord`."""
    members: list[bytes] = []

    def add_member(source: bytes) -> dict[str, str]:
        members.append(source)
        return {MEMBER: str(len(members) - 1)}

    tree = map_media({key: value for key, value in record.items() if key not in ("where", "id")}, add_member)
    return _digest(record["id"], as_json(tree, record["where"]), lambda name: members[int(name)])


def _digest(identity: str, tree: Mapping[str, Any], read: Callable[[str], bytes]) -> str:
    """SHA-256 of all texts, values and media of a record, whatever its members are called."""

    def media_digest(value: Any) -> str:
        return hashlib.sha256(read(value[MEMBER])).hexdigest()

    text = json.dumps([identity, map_media(tree, media_digest)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
