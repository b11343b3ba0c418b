"""Any adapter's records written into tar shards with an index for ``TarShards``, each shard whole or not there."""

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.tar_shards import TarShards
from x2vlm.data.io.annotations import read_captions
from x2vlm.data.io.image_decoding import FORMATS, MAX_BYTES
from x2vlm.data.io.paths import read_bytes
from x2vlm.data.io.record_codec import MEMBER, with_shown
from x2vlm.data.record import Record, RecordError
from x2vlm.data.tools.dataset_report import Depict

_ENDINGS = {"JPEG": "jpg", "TIFF": "tif"}  # others are called as they are


@dataclass(frozen=True)
class Packed:
    """A record ready to be written.

    Attributes:
        line: Its line of the index, but for the name of the tar file.
        members: What it shows: name in the tar file and bytes, in order.
        digest: Identifies all of the record's content, to compare with what is read back.
    """

    line: dict[str, Any]
    members: list[tuple[str, bytes]]
    digest: str


class Pack:
    """Look at a record: everything of it, as a line of an index and the members of a tar file.

    Args:
        decode: Decode what it shows, so that what cannot be decoded is found now and not in training.
        max_bytes: Larger files are bad records.
    """

    def __init__(self, decode: bool = True, max_bytes: int = MAX_BYTES) -> None:
        self.depict = Depict() if decode else None
        self.max_bytes = max_bytes

    def __call__(self, adapter: Adapter, index: int) -> Packed:
        """The packed record.

        Raises:
            RecordError: If it cannot be read, or holds what JSON cannot.
        """
        record = adapter.record(index)
        where = record["where"]
        members: list[tuple[str, bytes]] = []

        def put(source: Any) -> dict[str, str]:
            data, ending = _content(source, where, self.max_bytes)
            number = f"-{len(members)}" if members else ""
            members.append((f"{index:09d}{number}.{ending}", data))
            return {MEMBER: members[-1][0]}

        tree = with_shown({key: value for key, value in record.items() if key not in ("where", "id")}, put)
        if "caption" in tree:
            caption = read_captions(tree, "caption", where)
            tree = {key: value for key, value in tree.items() if key != "caption"}
            tree |= {} if caption is None else {"caption": caption}
        if self.depict is not None:
            self._decode(record)
        tree = as_json({"extras": {}, **tree}, where)
        line = {"key": str(record["id"]), **_line(tree)}
        return Packed(line, members, digest(line["key"], tree, dict(members).__getitem__))

    def _decode(self, record: Record) -> None:
        for one in ({**record, "clips": None}, *(record.get("clips") or ())):
            self.depict({**one, "where": record["where"]})


def _line(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The usual things under the names ``TarShards`` has for them, and all others under ``fields``."""
    names = {"image": MEMBER, "caption": "captions", "elems": "elems", "extras": "extras"}
    line = {ours: tree[name] for name, ours in names.items() if name in tree}
    if MEMBER in line:
        line[MEMBER] = line[MEMBER][MEMBER]
    fields = {name: value for name, value in tree.items() if name not in names}
    if not line["extras"]:
        del line["extras"]
    return line | ({"fields": fields} if fields or MEMBER not in line else {})


def _content(source: Any, where: str, max_bytes: int) -> tuple[bytes, str]:
    """The bytes of a picture or a video and what its name should end in."""
    if isinstance(source, np.ndarray):
        buffer = io.BytesIO()
        Image.fromarray(source).save(buffer, "PNG")
        return buffer.getvalue(), "png"
    if isinstance(source, bytes):
        if len(source) > max_bytes:
            raise RecordError(where, f"{len(source):,} bytes, over the limit of {max_bytes:,} bytes (max_bytes)")
        return source, _ending(source)
    data = read_bytes(source, where, max_bytes)
    ending = Path(source).suffix.lower().lstrip(".")
    return data, ending if ending.isalnum() else _ending(data)


def _ending(data: bytes) -> str:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _ENDINGS.get(image.format, image.format.lower())
    except (OSError, SyntaxError, ValueError):  # a video, or broken, which whoever decodes it tells
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
        return {key: as_json(one, where) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one, where) for one in value]
    raise RecordError(where, f"cannot be written to an index: {type(value).__name__} {value!r:.60} is not of JSON")


def digest(identity: str, tree: Mapping[str, Any], read: Callable[[str], bytes]) -> str:
    """A checksum of all that a record says and shows, whatever its members are called."""

    def checksum(value: Any) -> str:
        return hashlib.sha256(read(value[MEMBER])).hexdigest()

    text = json.dumps([identity, with_shown(tree, checksum)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of(record: Record) -> str:
    """The same of a record as ``TarShards`` gives it."""
    members: list[bytes] = []

    def put(source: bytes) -> dict[str, str]:
        members.append(source)
        return {MEMBER: str(len(members) - 1)}

    tree = with_shown({key: value for key, value in record.items() if key not in ("where", "id")}, put)
    return digest(record["id"], as_json(tree, record["where"]), lambda name: members[int(name)])


class PackError(RuntimeError):
    """A shard that does not read back as it was written."""


@dataclass
class Shard:
    """A tar file and its index while they are written, in a folder of their own until they are known to be whole.

    Attributes:
        folder: Where the finished files go.
        name: Of both files, without ending.
        bytes: Written so far, as the tar file will have them.
    """

    folder: Path
    name: str
    bytes: int = 0
    digests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.aside = self.folder / f".{self.name}.part"
        shutil.rmtree(self.aside, ignore_errors=True)  # what an interrupted run left
        self.aside.mkdir(parents=True)
        self._tar_file = open(self.aside / self.tar, "wb")  # noqa: SIM115  (closed by finish)
        self._tar = tarfile.open(fileobj=self._tar_file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._index = open(self.aside / self.index, "w", encoding="utf-8")  # noqa: SIM115

    @property
    def tar(self) -> str:
        """Name of the tar file."""
        return f"{self.name}.tar"

    @property
    def index(self) -> str:
        """Name of the index."""
        return f"{self.name}.jsonl"

    def add(self, packed: Packed) -> None:
        """Write a record."""
        for name, data in packed.members:
            info = tarfile.TarInfo(name)  # no times and no owners: the same records make the same file
            info.size = len(data)
            self._tar.addfile(info, io.BytesIO(data))
            self.bytes += 512 + -(-len(data) // 512) * 512
        line = {"key": packed.line["key"], "shard": self.tar, **packed.line}
        self._index.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.digests.append(packed.digest)

    def finish(self) -> dict[str, Any]:
        """Write out, read every record back, and only then put both files in their place.

        Returns:
            Names, number of records, bytes and checksum, for the manifest.

        Raises:
            PackError: If a record does not come back as it was. Nothing is put in place then.
        """
        self._tar.close()
        for file in (self._tar_file, self._index):
            file.flush()
            os.fsync(file.fileno())
            file.close()
        data = TarShards(self.aside / self.index)
        if len(data) != len(self.digests):
            raise PackError(f"{self.aside / self.index}: {len(self.digests)} records written, {len(data)} read back.")
        for i, expected in enumerate(self.digests):
            try:
                found = digest_of(data.record(i))
            except RecordError as error:
                raise PackError(f"{self.aside}: a record that was written cannot be read back. {error}") from error
            if found != expected:
                raise PackError(f"{self.aside / self.index}:{i + 1} reads back as another record than was written.")
        entry = {
            "tar": self.tar,
            "index": self.index,
            "records": len(self.digests),
            "bytes": (self.aside / self.tar).stat().st_size,
            "sha256": file_checksum(self.aside / self.tar),
        }
        for name in (self.tar, self.index):  # the index last: there is none without its tar file
            os.replace(self.aside / name, self.folder / name)
        self.aside.rmdir()
        sync_folder(self.folder)
        return entry

    def abandon(self) -> None:
        """Leave nothing behind."""
        self._tar_file.close()
        self._index.close()
        shutil.rmtree(self.aside, ignore_errors=True)


def file_checksum(path: str | PathLike) -> str:
    """SHA-256 of a file, in hexadecimal."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            total.update(block)
    return total.hexdigest()


def sync_folder(folder: Path) -> None:
    """Make sure that files renamed in a folder are still there after a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, text: str) -> None:
    """Write a small file that is always either the old one or the new one."""
    unfinished = path.with_name(f"{path.name}.part")
    with open(unfinished, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    sync_folder(path.parent)
