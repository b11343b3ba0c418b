"""Records as lines of an index: images and videos are replaced by the names of members of a tar file."""

from collections.abc import Callable, Mapping
from typing import Any

from x2vlm.data.record import Record, RecordError

MEMBER = "member"
"""Key of the object that replaces an image or a video: ``{"member": "000000017.jpg"}``."""

_MEDIA_KEYS = ("image", "images", "video")

# Checks of the fields that transforms rely on; other fields are passed on unchecked.
_IS_VALID: dict[str, Callable[[Any], bool]] = {
    "image": lambda value: isinstance(value, dict),
    "images": lambda value: isinstance(value, list),
    "clips": lambda value: (
        isinstance(value, list) and all(isinstance(clip, dict) and "video" in clip for clip in value)
    ),
    "text": lambda value: isinstance(value, str),
    "text_pair": lambda value: isinstance(value, str),
    "parallel": lambda value: isinstance(value, dict) and all(isinstance(text, str) for text in value.values()),
}


def decode_fields(line: Mapping[str, Any], read: Callable[[str], bytes], where: str) -> Record:
    """The ``fields`` of a line (all but image, captions, elements and extras), with members replaced by their bytes.

    Args:
        line: A parsed line of an index.
        read: From the name of a member to its bytes.
        where: ``file:line`` of the record.

    Raises:
        RecordError: If it is of another shape, or a member is missing.
    """
    fields = line.get("fields", {})
    if not isinstance(fields, dict) or not all(
        is_valid(fields[key]) for key, is_valid in _IS_VALID.items() if key in fields
    ):
        raise RecordError(where, f"fields: expected an object as make-shards writes it, got {fields!r:.80}")

    def read_member(value: Any) -> bytes:
        if not isinstance(value, dict) or not isinstance(value.get(MEMBER), str):
            raise RecordError(where, f"fields: expected {{'{MEMBER}': NAME}}, got {value!r:.80}")
        return read(value[MEMBER])

    return map_media(fields, read_member)


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
    """The record with ``change`` applied to every image and video, those of its clips included."""
    changed = {}
    for key, value in record.items():
        if key in _MEDIA_KEYS:
            changed[key] = [change(source) for source in value] if isinstance(value, list | tuple) else change(value)
        elif key == "clips" and value is not None:
            changed[key] = [map_media(clip, change) for clip in value]
        else:
            changed[key] = value
    return changed
