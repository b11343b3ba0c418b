"""Read videos with PyAV."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from x2vlm.data.io.video.video_clip import Clip, Source, checked_indices, checked_name, require_package
from x2vlm.data.record import RecordError
from x2vlm.registry import VIDEO_READERS


@VIDEO_READERS.register_module()
class PyAVReader:
    """Reads videos with PyAV: slower than decord, but close to FFmpeg.

    Frames are counted without decoding; to get some, all frames up to the last of them are decoded, without seeking.

    Args:
        num_threads: Decoder threads of one clip.
    """

    def __init__(self, num_threads: int = 1) -> None:
        require_package("av", "PyAVReader")
        self.num_threads = num_threads

    def open(self, source: Source) -> Clip:
        """The video in a file, or in the bytes of one.

        Raises:
            RecordError: If it is missing, or cannot be decoded.
        """
        return PyAVClip(source, self.num_threads)


class PyAVClip:
    """A video opened by PyAV.

    Args:
        source: A file, or the bytes of one.
        num_threads: Decoder threads.

    Raises:
        RecordError: If it is missing, or cannot be decoded.
    """

    def __init__(self, source: Source, num_threads: int) -> None:
        self.name = checked_name(source)
        self._source, self._num_threads = source, num_threads
        self.fps = 0.0
        # The number of frames in the header is missing from some files and wrong in others: packets are counted.
        self._length = self._counted()
        if not self._length:
            raise RecordError(self.name, "has no frames")

    def __len__(self) -> int:
        return self._length

    def get(self, indices: Sequence[int]) -> list[np.ndarray]:
        """The frames at ``indices``, each ``[H, W, 3]`` uint8 RGB.

        Raises:
            RecordError: If one cannot be decoded.
        """
        frame_indices = checked_indices(indices, self._length, self.name)
        frames = {}
        for index, frame in enumerate(self._frames()):
            if index in frame_indices:
                frames[index] = _upright(frame)
            if index == max(frame_indices):
                break
        if missing := set(frame_indices) - set(frames):
            raise RecordError(self.name, f"cannot be decoded by PyAV: there is no frame {min(missing)} in its packets")
        return [frames[index] for index in frame_indices]

    def _counted(self) -> int:
        with self._opened() as (container, stream):
            return sum(1 for packet in container.demux(stream) if packet.size and not packet.is_discard)

    def _frames(self) -> Iterator[Any]:
        with self._opened() as (container, stream):
            yield from container.decode(stream)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        import av

        source = io.BytesIO(self._source) if isinstance(self._source, bytes) else str(self._source)
        try:
            with av.open(source, metadata_errors="replace") as container:
                stream = next(iter(container.streams.video), None)
                if stream is None or stream.codec_context is None:
                    raise RecordError(self.name, "has no video stream of a known codec")
                stream.codec_context.thread_count = self._num_threads
                self.fps = float(stream.average_rate or 0)
                yield container, stream
        except av.FFmpegError as error:
            raise RecordError(self.name, f"cannot be decoded by PyAV: {error}") from error


def _upright(frame: Any) -> np.ndarray:
    """A frame of PyAV, rotated by quarter turns as the file says (phones)."""
    rotated = np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90) % 4)
    return np.ascontiguousarray(rotated)
