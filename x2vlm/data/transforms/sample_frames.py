"""Frame sampling of videos, and joining of short clips to a longer one."""

import random
from collections.abc import Mapping
from functools import cached_property
from itertools import accumulate
from os import PathLike
from pathlib import Path
from typing import Any

from mmcv.transforms import BaseTransform

from x2vlm.building import build
from x2vlm.data.io.video.video_clip import Clip
from x2vlm.data.record import Record, RecordError, with_record_errors
from x2vlm.data.transforms.clips import EverySoOften, FrameList, Segment, gather_frames, join_captions, stored_frames
from x2vlm.data.transforms.images.geometry import with_size
from x2vlm.registry import TRANSFORMS, VIDEO_READERS

NO_SPEECH = "[Music]"
"""Caption of speech recognition for a clip without speech."""


@TRANSFORMS.register_module()
class SampleFrames(BaseTransform):
    """Read ``num_frames`` frames of ``video``, spread over all of it, into ``frames``.

    ``video`` is a file, which the reader opens, or a list of images (paths, bytes, arrays), which needs no reader. Of
    a record with ``clips`` that continue each other (in order, each with ``video`` and ``caption``), a random one is
    joined with its neighbours until there are ``join_until`` frames; the captions are joined too. Of clips that do not
    continue each other (``is_continuous`` is False) one is taken. Clips and videos without speech (captioned "[Music]")
    are skipped. A ``.json`` file in the place of a video holds a list of frames in base64, as the release has them.

    Args:
        num_frames: How many.
        training: Draw a random frame of each segment. False takes the first, and joins clips from the first on.
        reader: A video reader, as ``dict(type=...)`` or built; it is made when the first file is to be read.
        join_until: Join clips until they have so many frames.
        fps: Look at so many frames a second of a file only, before ``num_frames`` of these are chosen (published: 1;
            arXiv:2211.12402v1, Sec. 3.2, "Video Representation"). None looks at all. Lists of frames are as they are.
    """

    def __init__(
        self,
        num_frames: int = 3,
        training: bool = True,
        reader: dict | Any = dict(type="DecordReader"),  # noqa: B006  (never changed)
        join_until: int = 8,
        fps: float | None = None,
    ) -> None:
        if fps is not None and fps <= 0:
            raise ValueError(f"fps is {fps}; expected frames a second above 0, or None for all")
        if num_frames < 1:
            raise ValueError(f"num_frames is {num_frames}; expected 1 or more")
        if join_until < 1:
            raise ValueError(f"join_until is {join_until}; expected 1 or more frames")
        self.num_frames, self.training, self.join_until = num_frames, training, join_until
        self.reader_cfg, self.fps = reader, fps

    @cached_property
    def reader(self) -> Any:
        """The video reader."""
        return build(VIDEO_READERS, self.reader_cfg, path="SampleFrames.reader")

    def transform(self, results: Record) -> Record:
        """Add ``frames``; ``extras["image_size"]`` gets their (height, width), joined clips the record's ``caption``.

        Raises:
            RecordError: If a file cannot be read, there is no frame, frames differ in size, or there is no speech.
        """
        where = results["where"]
        if results.get("clips"):
            clips, caption = self._joined(results)
            results = results | {"caption": caption}
        elif results.get("caption") == NO_SPEECH:
            raise RecordError(where, f"its caption is {NO_SPEECH}: it has no speech")
        elif results.get("video") is None:
            raise RecordError(where, "there is no video")
        else:
            clips = [self._open(results, where)]
        total = sum(map(len, clips))
        if not total:
            raise RecordError(where, "the video has no frames")
        frames = gather_frames(clips, sample_indices(total, self.num_frames, self.training))
        sizes = sorted({frame.shape[:2] for frame in frames})
        if len(sizes) > 1:
            raise RecordError(where, f"its frames have several sizes: {', '.join(f'{w}x{h}' for h, w in sizes)}")
        return results | {"frames": frames, "extras": with_size(results, frames[0])}

    def _open(self, shown: Mapping[str, Any], where: str) -> "Clip | FrameList":
        """The video of a record or of one of its clips; of its ``segment`` alone, where it has one."""
        video = shown["video"]
        if isinstance(video, list | tuple):
            return FrameList(video, where)
        if isinstance(video, PathLike | str) and Path(video).suffix.lower() == ".json":
            return FrameList(stored_frames(Path(video), where), where)
        clip = self.reader.open(video)
        if shown.get("segment") is not None:
            clip = Segment(clip, *shown["segment"], where)
        return clip if self.fps is None else EverySoOften(clip, self.fps, where)

    def _joined(self, results: Record) -> tuple[list["Clip | FrameList | Segment"], Any]:
        """Clips around one of the record's, at least ``join_until`` frames if there are so many, and their captions."""
        captioned = [clip for clip in results["clips"] if clip.get("caption") not in (None, NO_SPEECH)]
        if not captioned:
            raise RecordError(results["where"], f"none of its {len(results['clips'])} clips has speech")
        first = last = random.randrange(len(captioned)) if self.training else 0
        opened = [self._open(captioned[first], results["where"])]
        if not results.get("is_continuous", True):
            return opened, captioned[first]["caption"]
        while sum(map(len, opened)) < self.join_until and (first > 0 or last < len(captioned) - 1):
            forwards = first == 0 or (last < len(captioned) - 1 and random.random() < 0.5)
            first, last = (first, last + 1) if forwards else (first - 1, last)
            clip = self._open(captioned[last if forwards else first], results["where"])
            opened = [*opened, clip] if forwards else [clip, *opened]
        captions = [clip["caption"] for clip in captioned[first : last + 1]]
        return opened, with_record_errors(results, join_captions, captions)


def sample_indices(total: int, num_frames: int, training: bool) -> list[int]:
    """Indices of the ``num_frames`` frames to sample of ``total``.

    The clip is cut into ``num_frames`` segments of equal length; where ``total`` is no multiple, some are a frame
    longer: random ones in training, else the first ones. Of each segment a random frame is taken in training, else the
    first. A clip with fewer frames gives all of them, some repeated in place, as published: random ones in training,
    else the first ones.

    Args:
        total: Frames there are, at least 1.
        num_frames: How many are sampled.
        training: Draw at random.
    """
    if total < num_frames:
        if training:
            return sorted([*range(total), *random.choices(range(total), k=num_frames - total)])
        return sorted(index % total for index in range(num_frames))
    length, longer = divmod(total, num_frames)
    lengths = [length + 1] * longer + [length] * (num_frames - longer)
    if training:
        random.shuffle(lengths)
    starts = [0, *accumulate(lengths)][:-1]
    if not training:
        return starts
    return [random.randrange(start, start + length) for start, length in zip(starts, lengths, strict=True)]
