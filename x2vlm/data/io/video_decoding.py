"""Video readers with one interface: ``reader.open(source)`` is a clip with a length and frames by index."""

import functools
import importlib.util
import io
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from mmengine.logging import print_log

from x2vlm.data.record import RecordError
from x2vlm.registry import VIDEO_READERS

Source = str | PathLike | bytes

_CPP_LOCATION = re.compile(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ")


class Clip(Protocol):
    """An opened video: number of frames, frames by index, frames a second."""

    fps: float  # frames a second; 0 where the file has none

    def __len__(self) -> int:
        """Number of frames."""

    def get(self, indices: Sequence[int]) -> list[np.ndarray]:
        """The frames at ``indices``, each ``[H, W, 3]`` uint8 RGB, in this order."""


@VIDEO_READERS.register_module()
class DecordReader:
    """Reads videos with decord: the fastest of the readers that need no system library.

    What decord cannot decode (GIF, AV1) is given to PyAV, if that is installed; the log says so once.

    decord cannot return frames of a few very small widths (8, 12, 16, 24, 48 and 72 pixels), and reports that.

    Args:
        num_threads: Decoder threads of one clip. Loaders with worker processes need no more than one.
    """

    def __init__(self, num_threads: int = 1) -> None:
        _require_package("decord", "DecordReader")
        self.num_threads = num_threads

    def open(self, source: Source) -> Clip:
        """The video in a file, or in the bytes of one.

        Raises:
            RecordError: If it is missing, or cannot be decoded.
        """
        try:
            return _DecordClip(source, self.num_threads)
        except RecordError as error:
            if importlib.util.find_spec("av") is None:
                raise RecordError(error.where, f"{error.reason}; {_ADVICE}") from error
            clip = _by_pyav(source, self.num_threads)
            if clip is None:
                raise
            return clip


_ADVICE = "decord knows neither GIF nor AV1: PyAVReader does (pip install av)"


def _by_pyav(source: Source, num_threads: int) -> "Clip | None":
    """A clip of PyAV whose first frame it can decode; None if it cannot either."""
    try:
        clip = _PyAVClip(source, num_threads)
        clip.get([0])
    except RecordError:
        return None
    _tell_once()
    return clip


@functools.cache
def _tell_once() -> None:
    print_log("clips that decord cannot decode are read with PyAV, which is slower", logger="current")


class _DecordClip:
    def __init__(self, source: Source, num_threads: int) -> None:
        import decord

        self.name = checked_name(source)
        # decord can read bytes itself, but ends the whole process on some that are cut short.
        self._copy = _temporary_file(source) if isinstance(source, bytes) else None
        self._path = self._copy.name if self._copy else str(source)
        self._num_threads = num_threads
        self._errors = (RuntimeError, IndexError, StopIteration, decord.DECORDError)  # Stop..: too few frames
        try:
            self._reader = self._opened()
            self._length, self.fps = len(self._reader), float(self._reader.get_avg_fps())
            starts = self._reader.get_frame_timestamp(range(self._length))[:, 0] if self._length else np.zeros(0)
        except self._errors as error:
            raise RecordError(self.name, f"cannot be opened by decord: {_first_line(error)}") from error
        if not self._length:
            raise RecordError(self.name, "has no frames")
        # Without times (many AVI files) decord cannot seek: it returns other frames than the requested, and no error.
        self._seeks = bool((np.diff(starts) > 0).all())

    def __len__(self) -> int:
        return self._length

    def get(self, indices: Sequence[int]) -> list[np.ndarray]:
        frame_indices = checked_indices(indices, self._length, self.name)
        try:
            if self._seeks:
                return list(self._reader.get_batch(frame_indices).asnumpy())
            return self._decode_in_order(frame_indices)
        except self._errors as error:
            raise RecordError(self.name, f"cannot be decoded by decord: {_first_line(error)}") from error

    def _decode_in_order(self, frame_indices: list[int]) -> list[np.ndarray]:
        reader, frames = self._opened(), {}
        for index in range(max(frame_indices) + 1):
            frame = reader.next()
            if index in frame_indices:
                frames[index] = frame.asnumpy()
        return [frames[index] for index in frame_indices]

    def _opened(self) -> Any:
        import decord

        return decord.VideoReader(self._path, num_threads=self._num_threads)


def _temporary_file(data: bytes) -> Any:
    """A file that holds ``data`` and goes away with this object."""
    file = tempfile.NamedTemporaryFile(suffix=".video")  # noqa: SIM115  (lives as long as the clip)
    file.write(data)
    file.flush()
    return file


@VIDEO_READERS.register_module()
class PyAVReader:
    """Reads videos with PyAV: slower than decord, but close to FFmpeg.

    Frames are counted without decoding; to get some, all frames up to the last of them are decoded, without seeking.

    Args:
        num_threads: Decoder threads of one clip.
    """

    def __init__(self, num_threads: int = 1) -> None:
        _require_package("av", "PyAVReader")
        self.num_threads = num_threads

    def open(self, source: Source) -> Clip:
        """The video in a file, or in the bytes of one.

        Raises:
            RecordError: If it is missing, or cannot be decoded.
        """
        return _PyAVClip(source, self.num_threads)


class _PyAVClip:
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


def _require_package(package: str, reader: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"{reader} needs the package '{package}', which is not installed: pip install 'x2vlm[video]'")


def checked_name(source: Source) -> str:
    """The name of a video in messages.

    Raises:
        RecordError: If it is a file that does not exist.
    """
    if isinstance(source, bytes):
        return f"video of {len(source):,} bytes"
    if not Path(source).is_file():
        raise RecordError(str(source), "no such file")
    return str(source)


def checked_indices(indices: Sequence[int], length: int, name: str) -> list[int]:
    """``indices`` as Python integers.

    Raises:
        RecordError: If one of them is no frame of the video.
    """
    frame_indices = [int(index) for index in indices]
    outside = [index for index in frame_indices if not 0 <= index < length]
    if outside:
        raise RecordError(name, f"has {length} frames, counted from 0, so there is no frame {outside[0]}")
    return frame_indices


def _first_line(error: Exception) -> str:
    """The first line of an error of decord, without timestamps and source locations."""
    lines = _CPP_LOCATION.sub("", str(error)).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
