"""Video decoding in a separate process: a decoder that hangs, crashes or fills the memory costs one record."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from x2vlm.building import build
from x2vlm.data.io.image_decoding import MAX_PIXELS
from x2vlm.data.io.limits import MAX_BYTES
from x2vlm.data.io.video.decoder_process import DecoderProcess, NoResponseError
from x2vlm.data.io.video.video_clip import Clip, Source, checked_name
from x2vlm.data.record import RecordError
from x2vlm.registry import VIDEO_READERS


@VIDEO_READERS.register_module()
class WatchedReader:
    """Runs another reader in a separate process, with limits.

    Video decoders are large C programs that were not written for hostile files. One that exceeds the time or memory
    limit, or crashes, is killed and restarted for the next clip, and the clip is a bad record. The process is a fork of
    the one that reads; it starts when the first clip is opened, and ends with its parent.

    Args:
        reader: The reader that decodes, as ``dict(type=...)`` or built.
        max_seconds: Time to open a clip, and to decode the frames of one call.
        max_frames: Longest clip.
        max_pixels: Largest width times height of a frame.
        max_bytes: Largest file.
        max_memory: Bytes that the decoder process may allocate beyond those of its start (on Linux).

    Raises:
        ValueError: If a limit is not above 0.
    """

    def __init__(
        self,
        reader: dict | Any = dict(type="DecordReader"),  # noqa: B006  (never changed)
        max_seconds: float = 60.0,
        max_frames: int = 1_000_000,
        max_pixels: int = MAX_PIXELS,
        max_bytes: int = 16 * MAX_BYTES,
        max_memory: int = 8 * 2**30,
    ) -> None:
        self.limits = dict(max_seconds=max_seconds, max_frames=max_frames, max_pixels=max_pixels, max_bytes=max_bytes)
        self.limits["max_memory"] = max_memory
        for name, value in self.limits.items():
            if not value > 0:
                raise ValueError(f"{name} is {value}; expected a limit above 0")
        self.reader = build(VIDEO_READERS, reader, path="reader")
        self._decoder: DecoderProcess | None = None
        self.closed: list[int] = []  # clips without references, for the decoder process to close with the next request

    def open(self, source: Source) -> Clip:
        """The video in a file, or in the bytes of one.

        Raises:
            RecordError: If it is missing, cannot be decoded, or is over a limit.
        """
        name = checked_name(source)
        size = len(source) if isinstance(source, bytes) else os.stat(source).st_size
        if size > self.limits["max_bytes"]:
            raise RecordError(name, f"has {size:,} bytes, over the limit of {self.limits['max_bytes']:,} (max_bytes)")
        return _WatchedClip(self, source, name)

    def request(self, name: str, request: tuple) -> tuple[dict[str, Any], bytes]:
        """The response of the decoder process.

        Raises:
            RecordError: If it reports an error of the clip, or does not respond.
        """
        if self._decoder is None or self._decoder.owner != os.getpid():  # a forked worker starts its own
            self._decoder = DecoderProcess(self.reader, self.limits)
        closed, self.closed = self.closed, []
        try:
            head, pixels = self._decoder.request((closed, *request), self.limits["max_seconds"])
        except NoResponseError as error:
            self._decoder.end()
            self._decoder = None
            raise RecordError(name, str(error)) from error
        if "error" in head:
            raise RecordError(name, head["error"])
        return head, pixels

    def __getstate__(self) -> dict[str, Any]:
        """The reader without its process."""
        return {**self.__dict__, "_decoder": None}

    def __del__(self) -> None:
        """End the process."""
        decoder = getattr(self, "_decoder", None)
        if decoder is not None and decoder.owner == os.getpid():
            decoder.end()


class _WatchedClip:
    def __init__(self, reader: WatchedReader, source: Source, name: str) -> None:
        self.reader, self.source, self.name = reader, source, name
        self.length, self.fps = self._opened()

    def __len__(self) -> int:
        return self.length

    def get(self, indices: Sequence[int]) -> list[np.ndarray]:
        frame_indices = [int(index) for index in indices]
        head, pixels = self.reader.request(self.name, ("get", id(self), frame_indices))
        if "unknown" in head:  # the process was restarted since this clip was opened
            self._opened()
            head, pixels = self.reader.request(self.name, ("get", id(self), frame_indices))
        frames, start = [], 0
        for shape in head["shapes"]:
            size = int(np.prod(shape))
            frames.append(np.frombuffer(pixels, np.uint8, size, start).reshape(shape).copy())
            start += size
        return frames

    def _opened(self) -> tuple[int, float]:
        head, _ = self.reader.request(self.name, ("open", id(self), self.source))
        return head["length"], head["fps"]

    def __del__(self) -> None:
        self.reader.closed.append(id(self))
