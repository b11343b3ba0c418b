"""Lines of an index that hold any record: images and videos stand in them as names of members of a tar file."""

from collections.abc import Callable, Mapping
from typing import Any

from x2vlm.data.record import Record, RecordError

MEMBER = "member"
"""Key of what stands in place of an image or a video: ``{"member": "000000017.jpg"}``."""

_MEDIA_KEYS = ("image", "images", "video")

# What transforms rely on; anything else is passed on as it is.
_IS_VALID: dict[str, Callable[[Any], bool]] = {
    "image": lambda value: isinstance(value, dict),
    "images": lambda value: isinstance(value, list),
    "clips": lambda value: isinstance(value, list) and all(isinstance(one, dict) and "video" in one for one in value),
    "text": lambda value: isinstance(value, str),
    "text_pair": lambda value: isinstance(value, str),
    "parallel": lambda value: isinstance(value, dict) and all(isinstance(one, str) for one in value.values()),
}


def decode_fields(line: Mapping[str, Any], read: Callable[[str], bytes], where: str) -> Record:
    """What ``fields`` of a line hold besides image, captions, elements and extras; members are read.

    Args:
        line: A parsed line of an index.
        read: From the name of a member to its bytes.
        where: The record's place.

    Raises:
        RecordError: If it is of another shape, or a member is missing.
    """
    fields = line.get("fields", {})
    if not isinstance(fields, dict) or not all(fits(fields[key]) for key, fits in _IS_VALID.items() if key in fields):
        raise RecordError(where, f"fields: expected an object as make-shards writes it, got {fields!r:.80}")

    def take(value: Any) -> bytes:
        if not isinstance(value, dict) or not isinstance(value.get(MEMBER), str):
            raise RecordError(where, f"fields: expected {{'{MEMBER}': NAME}}, got {value!r:.80}")
        return read(value[MEMBER])

    return map_media(fields, take)


def read_extras(line: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The extras of a line; none where it has none.

    Raises:
        RecordError: If they are no object.
    """
    extras = line.get("extras", {})
    if not isinstance(extras, dict):
        raise RecordError(where, f"extras: expected an object, got {extras!r:.80}")
    return extras


def map_media(record: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """A record, and the clips in it, in which ``change`` was done to every image and every video."""
    changed = {}
    for key, value in record.items():
        if key in _MEDIA_KEYS:
            changed[key] = [change(one) for one in value] if isinstance(value, list | tuple) else change(value)
        elif key == "clips" and value is not None:
            changed[key] = [map_media(clip, change) for clip in value]
        else:
            changed[key] = value
    return changed
