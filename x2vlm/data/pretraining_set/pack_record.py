"""One record of a raw set, for the shards of a pre-training set: cleaned and encoded, or left out as a test image."""

from dataclasses import replace
from typing import Any

from x2vlm.building import ConfigError
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.inspection.decode_media import DecodeMedia
from x2vlm.data.inspection.held_out import HeldOutImages, hashes_of
from x2vlm.data.inspection.image_identity import image_identity
from x2vlm.data.io.box_rules import read_box, xywh_inside
from x2vlm.data.io.limits import MAX_BYTES
from x2vlm.data.record import Record, RecordError
from x2vlm.data.shard_writing.shard_record import ExcludedRecord, ShardRecord, encode_record


class PackPretrainingRecord:
    """Encode a record for a shard, unless it shows a test image.

    Elements whose box is none, or whose caption is empty, are dropped and counted; boxes of the others are in pixels of
    the image as it is stored.

    Args:
        held_out: The images of the test sets.
        named_by: Who names the images of the set; see :func:`~x2vlm.data.inspection.image_identity.image_identity`.
        by: ``ids``, ``pictures`` or both: what is compared.
        max_bytes: Larger files are bad records.
    """

    def __init__(
        self, held_out: HeldOutImages, named_by: str | None, by: tuple[str, ...], max_bytes: int = MAX_BYTES
    ) -> None:
        self.held_out, self.named_by, self.by, self.max_bytes = held_out, named_by, by, max_bytes
        self.decode = DecodeMedia()

    def __call__(self, adapter: Adapter, index: int) -> ShardRecord | ExcludedRecord:
        """The encoded record, or which test image it shows.

        Raises:
            RecordError: If the record, or an image or video of it, cannot be read, or nothing of it can be used.
            ConfigError: If the adapter's pipeline ends in samples.
        """
        record = adapter[index]
        if not isinstance(record, dict):
            raise ConfigError(f"pipeline: records are packed, but it ends in a {type(record).__name__}")
        name = image_identity(record, self.named_by)
        match = self.held_out.match_name(name) if self.named_by is not None and "ids" in self.by else None
        if match is not None:
            return _excluded(record, name, match)
        decoded = self.decode(record)
        hashes = hashes_of(decoded.get("frames", ()))
        match = self.held_out.match_hashes(hashes) if "pictures" in self.by else None
        if match is not None:
            return _excluded(record, name, match)
        kept, counts = _usable(record, decoded)
        low_contrast = "frames" in decoded and not len(hashes)
        return replace(
            encode_record(kept, index, self.max_bytes), counts=counts | ({"low_contrast": 1} if low_contrast else {})
        )


def _excluded(record: Record, name: str, match: dict[str, Any]) -> ExcludedRecord:
    return ExcludedRecord({"where": record["where"], "id": name, **match})


def _usable(record: Record, decoded: Record) -> tuple[Record, dict[str, int]]:
    """The record with elements that can be used, and how many captions and elements of each kind there are."""
    counts = {"captions": _number_of_texts(record.get("caption"))}
    if record.get("elems"):
        height, width = decoded["frames"][0].shape[:2]
        elems, problems = [], []
        for number, elem in enumerate(decoded["elems"]):
            try:
                box = xywh_inside(read_box(elem.get("bb")), width, height)
                if not _number_of_texts(elem.get("caption")):
                    raise ValueError("it has no caption")
                elems.append({**elem, "bb": box})
            except ValueError as error:
                problems.append(f"elems[{number}] {str(elem.get('caption'))[:40]!r}: {error}")
        if not elems and not counts["captions"]:
            raise RecordError(record["where"], f"no element is usable. {'; '.join(problems[:3])}")
        stated = ("stated_size", "boxes_are_shares")
        record = {key: value for key, value in record.items() if key not in stated} | {"elems": elems}
        counts |= {"unusable_elements": len(problems)}
        for kind in ("object", "region"):
            counts[f"{kind}s"] = sum(elem.get("kind") == kind for elem in elems)
    if not counts["captions"] and not record.get("elems"):
        counts["captions"] = sum(_number_of_texts(clip.get("caption")) for clip in record.get("clips") or ())
        if not counts["captions"]:
            raise RecordError(record["where"], "has no caption and no element")
    return record, {key: count for key, count in counts.items() if count}


def _number_of_texts(value: Any) -> int:
    """Texts of a caption in any of its shapes that are not blank."""
    if isinstance(value, dict):
        return sum(map(_number_of_texts, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_number_of_texts, value))
    return int(isinstance(value, str) and bool(value.strip()))
