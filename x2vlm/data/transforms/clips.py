"""Opened clips with frames by index: lists of images, segments, a lower frame rate, several clips joined."""

import json
from collections.abc import Sequence
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from x2vlm.data.io.image_decoding import decode_image, from_base64
from x2vlm.data.io.paths import read_bytes
from x2vlm.data.io.video.video_clip import Clip
from x2vlm.data.record import RecordError
from x2vlm.data.transforms.texts.field_texts import choose_text

MAX_FRAMES_BYTES = 2**30
"""Largest file with the frames of a video in base64 that is read."""


class FrameList:
    """A clip given as single images, decoded on access.

    Args:
        images: Paths, bytes or arrays, in order.
        where: ``file:line`` of the record, for messages.
    """

    def __init__(self, images: Sequence[Any], where: str) -> None:
        self.images, self.where = images, where

    def __len__(self) -> int:
        return len(self.images)

    def get(self, indices: Sequence[int]) -> list[np.ndarray]:
        """The frames at ``indices``, each ``[H, W, 3]`` uint8 RGB.

        Raises:
            RecordError: If one is missing or broken.
        """
        return [decode_image(self.images[index], self.where) for index in indices]


class Segment:
    """A part of a clip, counted as a clip of its own.

    Args:
        clip: The whole clip, which says how many frames it has a second.
        start: Seconds at which the part begins.
        end: Seconds at which it ends; infinite for the end of the clip.
        where: The record's place, for messages.

    Raises:
        RecordError: If the clip does not say its pace, or the part lies outside.
    """

    def __init__(self, clip: Any, start: float, end: float, where: str) -> None:
        fps = getattr(clip, "fps", 0.0)
        if not fps > 0:
            raise RecordError(where, f"a segment of {start:g} to {end:g} seconds of a video without a frame rate")
        self.clip, self.fps, self.first = clip, fps, max(0, round(start * fps))
        self.length = min(len(clip), max(round(min(end, 1e9) * fps), self.first + 1)) - self.first
        if self.length < 1:
            raise RecordError(
                where, f"its segment begins at {start:g} seconds, but the video has {len(clip) / fps:.1f}"
            )

    def __len__(self) -> int:
        return self.length

    def get(self, indices: Sequence[int]) -> list[np.ndarray]:
        """The frames at ``indices``, counted from the start of the segment, each ``[H, W, 3]`` uint8 RGB."""
        return self.clip.get([self.first + index for index in indices])


class EverySoOften:
    """A clip of which only so many frames a second are there.

    Args:
        clip: A video file, opened.
        fps: Frames a second.
        where: The record's place, for messages.

    Raises:
        RecordError: If the file does not state its frame rate.
    """

    def __init__(self, clip: Clip, fps: float, where: str) -> None:
        if not clip.fps > 0:
            raise RecordError(where, f"its video does not say how many frames a second it has, and fps={fps} needs it")
        step = max(1.0, clip.fps / fps)
        self.clip, self.fps = clip, clip.fps / step
        self.indices = [int(number * step) for number in range(max(1, ceil(len(clip) / step)))]
        self.indices = [index for index in self.indices if index < len(clip)]

    def __len__(self) -> int:
        return len(self.indices)

    def get(self, indices: Sequence[int]) -> list[np.ndarray]:
        """The frames at ``indices``, counted among those that are looked at."""
        return self.clip.get([self.indices[index] for index in indices])


def stored_frames(file: Path, where: str) -> list[bytes]:
    """The frames of a file with a JSON list of images in base64.

    Raises:
        RecordError: If it is missing, or no such list.
    """
    try:
        frames = json.loads(read_bytes(file, where, MAX_FRAMES_BYTES))
    except (ValueError, RecursionError) as error:
        raise RecordError(where, f"{file} is broken JSON: {error}") from error
    if not isinstance(frames, list) or not frames:
        raise RecordError(where, f"{file}: expected a list of frames in base64, got {str(frames)[:60]!r}")
    return [from_base64(frame, where) for frame in frames]


def gather_frames(clips: Sequence["Clip | FrameList"], indices: Sequence[int]) -> list[np.ndarray]:
    """Frames of several clips, indexed through all of them; ``indices`` may be in any order."""
    starts = [0, *accumulate(map(len, clips))]
    frames: dict[int, np.ndarray] = {}
    for clip, start, stop in zip(clips, starts, starts[1:], strict=False):
        in_clip = sorted({index for index in indices if start <= index < stop})
        if in_clip:
            frames |= zip(in_clip, clip.get([index - start for index in in_clip]), strict=True)
    return [frames[index] for index in indices]


def join_captions(captions: Sequence[Any]) -> str | dict[str, str]:
    """Captions joined by spaces; of lists a random one. By language where all are.

    Raises:
        ValueError: If some captions are by language and some are not, or they have no language in common.
    """
    by_language = [isinstance(caption, dict) for caption in captions]
    if not any(by_language):
        return " ".join(choose_text(caption) for caption in captions)
    common = [name for name in captions[0] if all(name in caption for caption in captions)] if all(by_language) else []
    if not common:
        raise ValueError("clips that should be joined have captions in different languages")
    return {name: " ".join(choose_text(caption, name) for caption in captions) for name in common}
