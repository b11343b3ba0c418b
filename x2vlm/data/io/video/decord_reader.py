"""Read videos with decord; what it cannot decode is given to PyAV."""

import functools
import importlib.util
import re
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.logging import print_log

from x2vlm.data.io.video.pyav_reader import PyAVClip
from x2vlm.data.io.video.video_clip import Clip, Source, checked_indices, checked_name, require_package
from x2vlm.data.record import RecordError
from x2vlm.registry import VIDEO_READERS

_CPP_LOCATION = re.compile(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ")


@VIDEO_READERS.register_module()
class DecordReader:
    """Reads videos with decord: the fastest of the readers that need no system library.

    What decord cannot decode (GIF, AV1) is given to PyAV, if that is installed; the log says so once.

    decord cannot return frames of a few very small widths (8, 12, 16, 24, 48 and 72 pixels), and reports that.

    Args:
        num_threads: Decoder threads of one clip. Loaders with worker processes need no more than one.
    """

    def __init__(self, num_threads: int = 1) -> None:
        require_package("decord", "DecordReader")
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
        clip = PyAVClip(source, num_threads)
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


def _first_line(error: Exception) -> str:
    """The first line of an error of decord, without timestamps and source locations."""
    lines = _CPP_LOCATION.sub("", str(error)).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
