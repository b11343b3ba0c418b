"""Tar shards with an index for ``TarShards``: each is read back and verified, and is complete or absent."""

import io
import json
import os
import shutil
import tarfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from x2vlm.data.datasets.file_formats.tar_shards import TarShards
from x2vlm.data.io.atomic_files import sync
from x2vlm.data.record import RecordError
from x2vlm.data.shard_writing.shard_record import ShardRecord, record_digest
from x2vlm.weights.integrity import sha256_of_file


class ShardVerificationError(RuntimeError):
    """A shard that does not read back as it was written."""


@dataclass
class ShardWriter:
    """Writes a tar file and its index into a temporary folder, and moves both into place once they are verified.

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
        self.temporary = self.folder / f".{self.name}.part"
        shutil.rmtree(self.temporary, ignore_errors=True)  # what an interrupted run left
        self.temporary.mkdir(parents=True)
        self._tar_file = open(self.temporary / self.tar, "wb")  # noqa: SIM115  (closed by finish)
        self._tar = tarfile.open(fileobj=self._tar_file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._index = open(self.temporary / self.index, "w", encoding="utf-8")  # noqa: SIM115

    @property
    def tar(self) -> str:
        """Name of the tar file."""
        return f"{self.name}.tar"

    @property
    def index(self) -> str:
        """Name of the index."""
        return f"{self.name}.jsonl"

    def add(self, record: ShardRecord) -> None:
        """Write a record."""
        for name, data in record.members:
            info = tarfile.TarInfo(name)  # no times and no owners: the same records make the same file
            info.size = len(data)
            self._tar.addfile(info, io.BytesIO(data))
            self.bytes += 512 + -(-len(data) // 512) * 512
        line = {"key": record.line["key"], "shard": self.tar, **record.line}
        self._index.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.digests.append(record.digest)

    def finish(self) -> dict[str, Any]:
        """Close both files, read every record back, and only then move them into place.

        Returns:
            Names, number of records, bytes and SHA-256, for the manifest.

        Raises:
            ShardVerificationError: If a record does not come back as it was. Nothing is moved then.
        """
        self._tar.close()
        for file in (self._tar_file, self._index):
            file.flush()
            os.fsync(file.fileno())
            file.close()
        data = TarShards(self.temporary / self.index)
        if len(data) != len(self.digests):
            raise ShardVerificationError(
                f"{self.temporary / self.index}: {len(self.digests)} records written, {len(data)} read back."
            )
        for i, expected in enumerate(self.digests):
            try:
                read_back = record_digest(data.record(i))
            except RecordError as error:
                raise ShardVerificationError(
                    f"{self.temporary}: a record that was written cannot be read back. {error}"
                ) from error
            if read_back != expected:
                raise ShardVerificationError(
                    f"{self.temporary / self.index}:{i + 1} reads back as another record than was written."
                )
        entry = {
            "tar": self.tar,
            "index": self.index,
            "records": len(self.digests),
            "bytes": (self.temporary / self.tar).stat().st_size,
            "sha256": sha256_of_file(self.temporary / self.tar),
        }
        for name in (self.tar, self.index):  # the index last: there is none without its tar file
            os.replace(self.temporary / name, self.folder / name)
        self.temporary.rmdir()
        sync(self.folder)
        return entry

    def abandon(self) -> None:
        """Remove what was written."""
        for file in (self._tar_file, self._index):
            with suppress(OSError):  # a full disk takes not even what is still to be flushed
                file.close()
        shutil.rmtree(self.temporary, ignore_errors=True)
