"""A video reader in a process of its own: what hangs, dies or fills the memory there costs one record, not the run."""

import ctypes
import json
import os
import pickle
import resource
import select
import signal
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from x2vlm.building import build
from x2vlm.data.io.image_decoding import MAX_PIXELS
from x2vlm.data.io.limits import MAX_BYTES
from x2vlm.data.io.video_decoding import Clip, Source, checked_name
from x2vlm.data.record import RecordError
from x2vlm.registry import VIDEO_READERS

_HEAD = struct.Struct("<QQ")  # bytes of JSON, bytes of pixels


@VIDEO_READERS.register_module()
class WatchedReader:
    """Another reader in a process of its own, with limits.

    Decoders of videos are large programs in C that were not written for hostile files. One that does not come back in
    time, dies, or needs too much memory is ended and started anew for the next clip, and the clip is a bad record. The
    process is a fork of the one that reads, is made when the first clip is opened, and goes with it.

    Args:
        reader: The reader that decodes, as ``dict(type=...)`` or built.
        max_seconds: Time to open a clip, and to decode the frames of one call.
        max_frames: Longest clip.
        max_pixels: Largest width times height of a frame.
        max_bytes: Largest file.
        max_memory: Bytes that the other process may take in addition to what it begins with (on Linux).

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
        self._decoder: _Decoder | None = None
        self.closed: list[int] = []  # clips that nobody holds any more, of which the other process is told next time

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

    def ask(self, name: str, request: tuple) -> tuple[dict[str, Any], bytes]:
        """What the other process answers.

        Raises:
            RecordError: If it says what is wrong with the clip, or does not answer.
        """
        if self._decoder is None or self._decoder.owner != os.getpid():  # a forked worker makes one of its own
            self._decoder = _Decoder(self.reader, self.limits)
        closed, self.closed = self.closed, []
        try:
            head, pixels = self._decoder.ask((closed, *request), self.limits["max_seconds"])
        except _NoAnswerError as error:
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
        wanted = [int(index) for index in indices]
        head, pixels = self.reader.ask(self.name, ("get", id(self), wanted))
        if "unknown" in head:  # another clip was the end of the process that knew this one
            self._opened()
            head, pixels = self.reader.ask(self.name, ("get", id(self), wanted))
        frames, start = [], 0
        for shape in head["shapes"]:
            size = int(np.prod(shape))
            frames.append(np.frombuffer(pixels, np.uint8, size, start).reshape(shape).copy())
            start += size
        return frames

    def _opened(self) -> tuple[int, float]:
        head, _ = self.reader.ask(self.name, ("open", id(self), self.source))
        return head["length"], head["fps"]

    def __del__(self) -> None:
        self.reader.closed.append(id(self))


class _NoAnswerError(Exception):
    """The other process hangs or has died."""


class _Decoder:
    """The other process.

    Args:
        reader: What decodes there.
        limits: Those of the reader.
    """

    def __init__(self, reader: Any, limits: Mapping[str, float]) -> None:
        self.owner = os.getpid()
        (theirs_in, self._to), (self._from, theirs_out) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(self._to)
            os.close(self._from)
            _serve(reader, limits, theirs_in, theirs_out)
        os.close(theirs_in)
        os.close(theirs_out)

    def ask(self, request: tuple, seconds: float) -> tuple[dict[str, Any], bytes]:
        until = time.monotonic() + seconds
        data = pickle.dumps(request)
        try:
            _write(self._to, struct.pack("<Q", len(data)) + data)
        except BrokenPipeError as error:
            raise _NoAnswerError("the process that decodes has died") from error
        lengths = _HEAD.unpack(self._read(_HEAD.size, until, seconds))
        head = json.loads(self._read(lengths[0], until, seconds))
        return head, self._read(lengths[1], until, seconds)

    def end(self) -> None:
        for handle in (self._to, self._from):
            os.close(handle)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def _read(self, size: int, until: float, seconds: float) -> bytes:
        parts, waiting = [], select.poll()
        waiting.register(self._from, select.POLLIN)
        while size:
            if not waiting.poll(max(0.0, until - time.monotonic()) * 1000):
                raise _NoAnswerError(f"its decoder did not come back within {seconds:g} s (max_seconds)")
            part = os.read(self._from, min(size, 2**20))
            if not part:
                raise _NoAnswerError("its decoder died of it")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _serve(reader: Any, limits: Mapping[str, float], requests: int, answers: int) -> NoReturn:
    """Answer until nobody asks any more. Whatever happens, this fork never returns into its parent's code."""
    try:
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: not to outlive who asks
            _limit_memory(int(limits["max_memory"]))
        clips: dict[int, Clip] = {}
        with os.fdopen(requests, "rb") as asked:
            while size := asked.read(8):
                head, frames = _answer(reader, limits, clips, pickle.loads(asked.read(struct.unpack("<Q", size)[0])))
                text = json.dumps(head).encode()
                _write(answers, _HEAD.pack(len(text), sum(frame.nbytes for frame in frames)) + text)
                for frame in frames:
                    _write(answers, np.ascontiguousarray(frame).tobytes())
    finally:
        os._exit(0)


def _answer(
    reader: Any, limits: Mapping[str, float], clips: dict[int, Clip], request: tuple
) -> tuple[dict[str, Any], list[np.ndarray]]:
    closed, what, key, asked = request
    for one in closed:
        clips.pop(one, None)
    try:
        if what == "open":
            clips[key] = reader.open(asked)
        clip = clips.get(key)
        if clip is None:
            return {"unknown": key}, []
        if len(clip) > limits["max_frames"]:
            return {"error": f"has {len(clip):,} frames, over the limit of {limits['max_frames']:,} (max_frames)"}, []
        if what == "open":
            return {"length": len(clip), "fps": clip.fps}, []
        frames = clip.get(asked)
        height, width = frames[0].shape[:2] if frames else (0, 0)
        if height * width > limits["max_pixels"]:
            size = f"frames of {width}x{height} pixels"
            return {"error": f"has {size}, over the limit of {limits['max_pixels']:,} (max_pixels)"}, []
        return {"shapes": [frame.shape for frame in frames]}, frames
    except RecordError as error:
        return {"error": error.reason}, []
    except MemoryError:
        return {"error": f"needs more memory to be decoded than {limits['max_memory']:,} bytes (max_memory)"}, []


def _limit_memory(more: int) -> None:
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(
        resource.RLIMIT_AS, (now + more if hard == resource.RLIM_INFINITY else min(now + more, hard), hard)
    )


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
