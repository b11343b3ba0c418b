"""A decoder in a process of its own: the same frames, and one bad record for whatever goes wrong there."""

import faulthandler
import os
import pickle
import threading
import time

import numpy as np
import pytest

from x2vlm.data.datasets.file_formats.video_folder import VideoFolder
from x2vlm.data.io.video.decord_reader import DecordReader
from x2vlm.data.io.video.pyav_reader import PyAVReader
from x2vlm.data.io.video.sandboxed_video import WatchedReader
from x2vlm.data.loader import make_loader
from x2vlm.data.record import RecordError
from x2vlm.data.replace_bad_records import SeededDataset
from x2vlm.data.transforms.sample_frames import SampleFrames

pytest.importorskip("av")
pytest.importorskip("decord")


class Ill:
    """Decodes as decord does, but for files whose name says what goes wrong with them."""

    def open(self, source):
        name = os.path.basename(str(source))
        if name.startswith("hangs"):
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()
        if name.startswith("dies"):
            faulthandler.disable()  # nobody needs to read of it
            os.abort()
        if name.startswith("eats"):
            np.ones(2**33, np.uint8)
        return DecordReader().open(source)


def children() -> set[str]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return set(file.read().split())


@pytest.mark.parametrize("inner", [DecordReader(), PyAVReader()])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_frames_are_those_of_the_reader_inside(write_clip, inner, as_bytes):
    source = write_clip(frames=7)
    source = source.read_bytes() if as_bytes else source
    ours, theirs = WatchedReader(inner).open(source), inner.open(source)
    assert (len(ours), ours.fps) == (len(theirs), theirs.fps)
    for indices in ([5, 0, 3, 3], [2], [1, 6]):
        assert np.array_equal(ours.get(indices), theirs.get(indices))


def test_several_clips_are_open_at_once_and_the_process_goes_with_the_reader(write_clip):
    before = children()
    reader = WatchedReader()
    clips = [reader.open(write_clip(frames=n, name=f"{n}.mp4")) for n in (3, 4, 5)]
    assert [len(clip.get([0, n])) for n, clip in enumerate(clips)] == [2, 2, 2]
    assert len(children() - before) == 1
    del clips, reader
    assert children() == before


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hangs.mp4", r"its decoder did not finish within 1 s \(max_seconds\)"),
        ("dies.mp4", "its decoder died of it"),
        ("eats.mp4", r"needs more memory to be decoded than [\d,]+ bytes \(max_memory\)"),
    ],
)
def test_a_clip_at_which_the_decoder_hangs_dies_or_eats_costs_itself_alone(write_clip, name, reason):
    bad, good = write_clip(name=name), write_clip(name="good.mp4")
    reader = WatchedReader(Ill(), max_seconds=1, max_memory=2**30)
    for _ in range(2):
        start = time.monotonic()
        with pytest.raises(RecordError, match=rf"{name}: {reason}"):
            reader.open(bad)
        assert time.monotonic() - start < 5
        assert len(reader.open(good).get([0, 5])) == 2


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (dict(max_frames=5), r"has 6 frames, over the limit of 5 \(max_frames\)"),
        (dict(max_pixels=500), r"has frames of 32x16 pixels, over the limit of 500 \(max_pixels\)"),
        (dict(max_bytes=99), r"has [\d,]+ bytes, over the limit of 99 \(max_bytes\)"),
    ],
)
def test_a_clip_over_a_limit_is_reported(write_clip, limits, reason):
    with pytest.raises(RecordError, match=reason):
        WatchedReader(**limits).open(write_clip()).get([0])


def test_a_clip_that_was_open_when_another_ended_the_process_is_read_on(write_clip):
    bad, good = write_clip(name="dies.mp4"), write_clip(name="good.mp4")
    reader = WatchedReader(Ill())
    clip = reader.open(good.read_bytes())
    with pytest.raises(RecordError, match="died of it"):
        reader.open(bad)
    assert np.array_equal(clip.get([4]), DecordReader().open(good).get([4]))


def test_the_message_of_the_reader_inside_is_kept(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(RecordError, match=r"a\.mp4: cannot be opened by decord"):
        WatchedReader().open(tmp_path / "a.mp4")


@pytest.mark.parametrize("name", ["max_seconds", "max_frames", "max_memory"])
def test_a_limit_that_is_none_is_reported(name):
    with pytest.raises(ValueError, match=f"{name} is 0; expected a limit above 0"):
        WatchedReader(**{name: 0})


def test_it_can_be_sent_to_another_process(write_clip):
    reader = WatchedReader()
    reader.open(write_clip())
    assert len(pickle.loads(pickle.dumps(reader)).open(write_clip())) == 6


def test_workers_of_a_loader_read_past_clips_at_which_decoders_hang_and_die(write_clip, tmp_path):
    for name in ("a.mp4", "dies.mp4", "hangs.mp4", "z.mp4"):
        write_clip(name=name)
    reader = WatchedReader(Ill(), max_seconds=1)
    data = VideoFolder(tmp_path, pipeline=[SampleFrames(2, reader=reader)])
    reader.open(tmp_path / "a.mp4")  # also before the workers are forked
    positions = [(index, index) for index in range(4)]
    loader = make_loader(SeededDataset(data, "video", attempts=1), list, 1, positions, num_workers=2)
    drawn = [batch[0] for batch in loader]
    assert [entry.sample is None for entry in drawn] == [False, True, True, False]
    assert [entry.bad[0].where for entry in drawn if entry.bad] == ["dies.mp4", "hangs.mp4"]
