"""Video decoding in a separate process: a decoder that hangs, crashes or fills the memory costs one record."""

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
        self._decoder: _Decoder | None = None
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
            self._decoder = _Decoder(self.reader, self.limits)
        closed, self.closed = self.closed, []
        try:
            head, pixels = self._decoder.request((closed, *request), self.limits["max_seconds"])
        except _NoResponseError as error:
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


class _NoResponseError(Exception):
    """The decoder process hangs or has died."""


class _Decoder:
    """The decoder process.

    Args:
        reader: The reader that decodes in it.
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

    def request(self, request: tuple, seconds: float) -> tuple[dict[str, Any], bytes]:
        until = time.monotonic() + seconds
        data = pickle.dumps(request)
        try:
            _write(self._to, struct.pack("<Q", len(data)) + data)
        except BrokenPipeError as error:
            raise _NoResponseError("the process that decodes has died") from error
        lengths = _HEAD.unpack(self._read(_HEAD.size, until, seconds))
        head = json.loads(self._read(lengths[0], until, seconds))
        return head, self._read(lengths[1], until, seconds)

    def end(self) -> None:
        for handle in (self._to, self._from):
            os.close(handle)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def _read(self, size: int, until: float, seconds: float) -> bytes:
        blocks, poll = [], select.poll()
        poll.register(self._from, select.POLLIN)
        while size:
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                raise _NoResponseError(f"its decoder did not finish within {seconds:g} s (max_seconds)")
            block = os.read(self._from, min(size, 2**20))
            if not block:
                raise _NoResponseError("its decoder died of it")
            blocks.append(block)
            size -= len(block)
        return b"".join(blocks)


def _serve(reader: Any, limits: Mapping[str, float], requests: int, responses: int) -> NoReturn:
    """Respond to requests until their pipe is closed. This fork never returns into its parent's code."""
    try:
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: ends with its parent
            _limit_memory(int(limits["max_memory"]))
        clips: dict[int, Clip] = {}
        with os.fdopen(requests, "rb") as pipe:
            while size := pipe.read(8):
                request = pickle.loads(pipe.read(struct.unpack("<Q", size)[0]))
                head, frames = _respond(reader, limits, clips, request)
                text = json.dumps(head).encode()
                _write(responses, _HEAD.pack(len(text), sum(frame.nbytes for frame in frames)) + text)
                for frame in frames:
                    _write(responses, np.ascontiguousarray(frame).tobytes())
    finally:
        os._exit(0)


def _respond(
    reader: Any, limits: Mapping[str, float], clips: dict[int, Clip], request: tuple
) -> tuple[dict[str, Any], list[np.ndarray]]:
    closed, command, key, argument = request
    for closed_key in closed:
        clips.pop(closed_key, None)
    try:
        if command == "open":
            clips[key] = reader.open(argument)
        clip = clips.get(key)
        if clip is None:
            return {"unknown": key}, []
        if len(clip) > limits["max_frames"]:
            return {"error": f"has {len(clip):,} frames, over the limit of {limits['max_frames']:,} (max_frames)"}, []
        if command == "open":
            return {"length": len(clip), "fps": clip.fps}, []
        frames = clip.get(argument)
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
