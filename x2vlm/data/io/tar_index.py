"""Random access to members of tar files: headers are scanned once, then a member is one seek, without unpacking."""

import hashlib
import os
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from x2vlm.data.io.limits import MAX_BYTES
from x2vlm.data.io.paths import open_regular_file
from x2vlm.data.record import RecordError

# No file system has longer names. Every entry of the index takes as many bytes as the longest name.
_MAX_NAME = 4096
_MAX_SIZE = 2**60
_MAX_HEADER = 2**20
_READS_AT_END = 8
_BLOCK = 512  # bytes of a header

# What tarfile raises for broken headers, found by damaging them.
_BROKEN = (tarfile.TarError, ValueError, OverflowError, RecursionError, IndexError, KeyError, EOFError, struct.error)


class TarIndex:
    """Names, offsets and sizes of the members of one tar file, or of one that is a member of another.

    Holds the names and 16 bytes a member, and no open file. A file that is missing, cut short or no plain tar is no
    error here: the index has the members that could be found, and ``problem`` says what is wrong.

    Args:
        path: An uncompressed tar file: members of compressed ones cannot be reached without unpacking all before them.
        cache_dir: A folder that caches the index for the next run; None caches nothing.
        max_bytes: Larger members are not read.
        span: Where in the file it starts, and its bytes, if it is a member of another tar file (ImageNet).
    """

    def __init__(
        self,
        path: str | os.PathLike,
        cache_dir: str | os.PathLike | None = None,
        max_bytes: int = MAX_BYTES,
        span: tuple[int, int] | None = None,
    ) -> None:
        self.path, self.max_bytes = Path(path), max_bytes
        cached = None if cache_dir is None else _cache_file(self.path, Path(cache_dir), span)
        arrays = _load(cached) if cached else None
        if arrays is None:
            self.names, self.offsets, self.sizes, self.problem = _scan(self.path, span)
            if cached and not self.problem:
                _save(cached, (self.names, self.offsets, self.sizes))
        else:
            self.names, self.offsets, self.sizes = arrays
            self.problem = None
        self._order = np.argsort(self.names, kind="stable")

    def __len__(self) -> int:
        return len(self.names)

    def name(self, position: int) -> str:
        """The name of the member at ``position``, in the order of the file."""
        return os.fsdecode(bytes(self.names[position]))

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        key = np.bytes_(os.fsencode(name))
        place = int(np.searchsorted(self.names, key, sorter=self._order)) if len(self) else 0
        return place < len(self) and bool(self.names[self._order[place]] == key)

    def read(self, name: str, where: str) -> bytes:
        """The bytes of a member; of the last one where several have the name, as tar has it.

        Raises:
            RecordError: If there is no such member, or the file ends inside it.
        """
        try:
            key = np.bytes_(os.fsencode(name))
        except UnicodeEncodeError as error:
            raise RecordError(where, f"no member can be called {name!r:.80}") from error
        rank = int(np.searchsorted(self.names, key, side="right", sorter=self._order)) - 1 if len(self) else -1
        if rank < 0 or self.names[self._order[rank]] != key:
            why = f" ({self.problem})" if self.problem else f", which has {len(self)} members"
            raise RecordError(where, f"no member {name!r} in {self.path}{why}")
        return self.read_at(int(self._order[rank]), where)

    def read_at(self, position: int, where: str) -> bytes:
        """The bytes of the member at ``position``.

        Raises:
            RecordError: If the file has gone, or ends inside the member, or that is larger than ``max_bytes``.
        """
        start, size = int(self.offsets[position]), int(self.sizes[position])
        try:
            with open_regular_file(self.path) as handle:
                available = min(max(os.fstat(handle.fileno()).st_size - start, 0), size)
                if available == size <= self.max_bytes:
                    handle.seek(start)
                    return handle.read(size)
        except OSError as error:
            raise RecordError(where, f"{self.path}: {error.strerror or error}") from error
        name = self.name(position)
        if available < size:
            raise RecordError(where, f"{self.path} ends inside the member {name!r} ({available:,} of {size:,} bytes)")
        limit = f"the limit of {self.max_bytes:,} bytes (limits.max_bytes)"
        raise RecordError(where, f"{self.path}: the member {name!r} has {size:,} bytes, over {limit}")


def _scan(path: Path, span: tuple[int, int] | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, str | None]:
    """Names, offsets and sizes of the regular members, in order, and a problem of the file if there is one."""
    start = 0 if span is None else span[0]
    members: list[tuple[bytes, int, int]] = []
    problem = None
    try:
        with open_regular_file(path) as whole:
            file = whole if span is None else _Window(whole, *span)
            tar = tarfile.open(fileobj=_Headers(file), mode="r:")  # noqa: SIM115  (closed with what it reads)
            for member in tar:
                tar.members = []  # it keeps every header otherwise
                name = os.fsencode(member.name)
                if len(name) > _MAX_NAME or not 0 <= member.size < _MAX_SIZE:
                    raise tarfile.ReadError(f"a name of {len(name)} bytes, or a size of {member.size}, is none")
                if span is not None and member.offset_data + member.size > span[1]:
                    raise tarfile.ReadError(f"it ends inside the member {member.name!r:.80}")
                if member.isreg() and not member.issparse():
                    members.append((name, start + member.offset_data, member.size))
            # Behind the last member, tarfile takes anything for the end: half a header, or one that is damaged.
            file.seek(tar.offset)
            block = file.read(_BLOCK)
            if block.rstrip(b"\0"):
                problem = f"the tar ends early: it breaks inside a header at byte {tar.offset:,}"
            elif not block:  # cut between two members, as copies by the block are
                problem = f"the tar ends early: at byte {tar.offset:,} the empty blocks that close it are not there"
    except OSError as error:
        problem = error.strerror or str(error)
    except _BROKEN as error:
        problem = f"the tar ends early: {error}" if members else f"not a plain tar: {error}"
    names = np.array([name for name, _, _ in members], dtype=bytes)
    return names, *(np.array([entry[i] for entry in members], dtype=np.int64) for i in (1, 2)), problem


class _Window:
    """A part of a file as a file of its own.

    Args:
        file: The whole file.
        start: First byte.
        size: Number of bytes.
    """

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self.file, self.start, self.size = file, start, size
        file.seek(start)

    def tell(self) -> int:
        return self.file.tell() - self.start

    def seek(self, position: int) -> int:
        return self.file.seek(self.start + position) - self.start

    def read(self, size: int) -> bytes:
        return self.file.read(max(0, min(size, self.size - self.tell())))


class _Headers:
    """The file as tarfile reads headers from it, guarded against false header sizes and endless reads at its end.

    Args:
        file: The tar file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.tell, self.seek = file, file.tell, file.seek
        self._at_end = 0

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes is none")
        data = self.file.read(size)
        self._at_end = 0 if data else self._at_end + 1
        if self._at_end > _READS_AT_END:
            raise tarfile.ReadError("it ends inside a header")
        return data


def _cache_file(path: Path, folder: Path, span: tuple[int, int] | None) -> Path | None:
    """A file name that changes with the tar file's size and time; None where there is no tar file."""
    if not path.is_file():
        return None
    state = path.stat()
    key = hashlib.sha256(f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}|{span or ''}".encode()).hexdigest()[:16]
    return folder / f"{path.name}-{key}.npz"


def _load(path: Path) -> tuple[np.ndarray, ...] | None:
    """The cached arrays; None if there are none, or the cache file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as cached:
            return cached["names"], cached["offsets"], cached["sizes"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _save(path: Path, arrays: tuple[np.ndarray, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    with open(unfinished, "wb") as handle:
        np.savez(handle, names=arrays[0], offsets=arrays[1], sizes=arrays[2])
    os.replace(unfinished, path)  # several workers may do this at once: each sees a whole file
