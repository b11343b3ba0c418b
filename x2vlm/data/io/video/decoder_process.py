"""The process in which a sandboxed video is decoded: a fork with limits, with requests and responses through pipes."""

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
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from x2vlm.data.io.video.video_clip import Clip
from x2vlm.data.record import RecordError

_HEAD = struct.Struct("<QQ")  # bytes of JSON, bytes of pixels


class NoResponseError(Exception):
    """The decoder process hangs or has died."""


class DecoderProcess:
    """The decoder process: a fork of the one that makes this object.

    Args:
        reader: The reader that decodes in it.
        limits: ``max_frames``, ``max_pixels`` and ``max_memory``, as of the sandboxed reader.
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
        """The response to a request: a head, and the bytes of frames.

        Args:
            request: Keys of clips to close; a command, ``"open"`` or ``"get"``; the key of its clip; its argument.
            seconds: Time to respond.

        Raises:
            NoResponseError: If the process has died, or does not respond in time.
        """
        until = time.monotonic() + seconds
        data = pickle.dumps(request)
        try:
            _write(self._to, struct.pack("<Q", len(data)) + data)
        except BrokenPipeError as error:
            raise NoResponseError("the process that decodes has died") from error
        lengths = _HEAD.unpack(self._read(_HEAD.size, until, seconds))
        head = json.loads(self._read(lengths[0], until, seconds))
        return head, self._read(lengths[1], until, seconds)

    def end(self) -> None:
        """Kill the process."""
        for handle in (self._to, self._from):
            os.close(handle)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def _read(self, size: int, until: float, seconds: float) -> bytes:
        blocks, poll = [], select.poll()
        poll.register(self._from, select.POLLIN)
        while size:
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                raise NoResponseError(f"its decoder did not finish within {seconds:g} s (max_seconds)")
            block = os.read(self._from, min(size, 2**20))
            if not block:
                raise NoResponseError("its decoder died of it")
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
