import json
import pickle
import time

import numpy as np
import pytest

from x2vlm.building import ConfigError, build
from x2vlm.data.datasets.file_formats.video_folder import VideoFolder
from x2vlm.data.io.video.decord_reader import DecordReader
from x2vlm.data.io.video.pyav_reader import PyAVClip, PyAVReader
from x2vlm.data.record import RecordError
from x2vlm.data.transforms.sample_frames import SampleFrames
from x2vlm.registry import VIDEO_READERS

pytest.importorskip("av")
pytest.importorskip("decord")

READERS = pytest.mark.parametrize("reader", [DecordReader(), PyAVReader()], ids=["decord", "pyav"])


def levels(frames):
    """Which frames these are: frame ``i`` of a test clip is grey of level ``20 * i``."""
    return [round(float(frame.mean()) / 20) for frame in frames]


@READERS
@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi", "clip.mkv", "clip.mov"])
def test_frames_come_in_the_order_requested(reader, write_clip, name):
    clip = reader.open(write_clip(frames=7, name=name))
    assert (len(clip), clip.fps) == (7, 5.0)
    frames = clip.get([5, 0, 3, 3, 6])
    assert levels(frames) == [5, 0, 3, 3, 6]
    assert all(frame.shape == (16, 32, 3) and frame.dtype == np.uint8 for frame in frames)
    assert levels(clip.get([2])) == [2]


def test_pyav_decodes_no_frame_to_open_a_clip_and_none_behind_the_last_that_is_requested(write_clip, monkeypatch):
    decoded = []
    frames = PyAVClip._frames

    def counted(clip):
        for frame in frames(clip):
            decoded.append(frame)
            yield frame

    monkeypatch.setattr(PyAVClip, "_frames", counted)
    clip = PyAVReader().open(write_clip(frames=12))
    assert (len(clip), len(decoded)) == (12, 0)
    assert levels(clip.get([4, 1])) == [4, 1]
    assert len(decoded) == 5


def test_decord_decodes_only_the_part_of_a_long_clip_that_a_frame_needs(write_clip):
    """A frame near the end costs about what one near the start costs: it is sought."""
    clip = DecordReader().open(write_clip(frames=600, size=(320, 240), gop=10))
    everything = min(seconds_of(lambda: clip.get(range(600))) for _ in range(2))
    assert min(seconds_of(lambda index=index: clip.get([index])) for index in (588, 301, 591)) < everything / 4


def seconds_of(run):
    start = time.process_time()
    run()
    return time.process_time() - start


@READERS
def test_bytes_are_read_as_their_file_is(reader, write_clip):
    path = write_clip()
    from_bytes, from_file = reader.open(path.read_bytes()).get([4]), reader.open(str(path)).get([4])
    assert np.array_equal(from_bytes[0], from_file[0])


@READERS
def test_colours_are_red_green_blue(reader, tmp_path):
    import av

    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 250
    with av.open(str(tmp_path / "red.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(red, format="rgb24")))
        container.mux(stream.encode())
    frame = reader.open(tmp_path / "red.mp4").get([0])[0]
    assert frame[..., 0].min() > 200
    assert frame[..., 1:].max() < 40


@READERS
@pytest.mark.parametrize("index", [6, -1])
def test_a_frame_that_does_not_exist_is_reported(reader, write_clip, index):
    with pytest.raises(RecordError, match=rf"clip\.mp4: has 6 frames, counted from 0, so there is no frame {index}"):
        reader.open(write_clip()).get([0, index])


@READERS
def test_a_missing_file_is_reported(reader, tmp_path):
    with pytest.raises(RecordError, match=r"gone\.mp4: no such file"):
        reader.open(tmp_path / "gone.mp4")


@READERS
@pytest.mark.parametrize("data", [b"", b"no video at all"])
def test_what_is_no_video_is_a_record_error(reader, data):
    with pytest.raises(RecordError, match=r"^video of \d+ bytes: cannot be"):
        reader.open(data)


@READERS
@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi", "clip.mkv"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.7, 0.95])
def test_a_clip_that_is_cut_short_gives_frames_or_a_record_error(reader, write_clip, name, share):
    data = write_clip(frames=12, name=name).read_bytes()
    try:
        clip = reader.open(data[: int(share * len(data))])
        assert len(clip.get([0, len(clip) - 1])) == 2
    except RecordError as error:
        assert error.reason


@READERS
def test_an_image_is_no_clip_without_frames_but_one_of_one_frame_or_an_error(reader, png):
    try:
        assert len(reader.open(png())) == 1
    except RecordError as error:
        assert error.where.startswith("video of")


@READERS
def test_a_file_with_sound_only_is_reported(reader, tmp_path):
    import av

    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(RecordError, match=r"sound\.mp4: (has no video stream|cannot be opened)"):
        reader.open(tmp_path / "sound.mp4")


@pytest.mark.parametrize("name", ["DecordReader", "PyAVReader"])
def test_a_reader_whose_package_is_missing_reports_what_to_install(name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=rf"reader: .*{name} needs the package .*pip install 'x2vlm\[video\]'"):
        build(VIDEO_READERS, dict(type=name), path="reader")


def test_readers_can_be_sent_to_another_process():
    assert pickle.loads(pickle.dumps(DecordReader(num_threads=2))).num_threads == 2


def test_captions_come_from_the_names_of_the_files(write_clip, tmp_path):
    write_clip(name="flipping_a-pancake.mp4")
    (tmp_path / "more").mkdir()
    write_clip(name="more/a_dog.mkv")
    (tmp_path / "notes.txt").touch()
    data = VideoFolder(tmp_path)
    assert [data.record(i)["caption"] for i in range(len(data))] == ["flipping a pancake", "a dog"]
    assert data.record(1)["video"] == tmp_path / "more" / "a_dog.mkv"
    assert data.record(1)["id"] == "more/a_dog.mkv"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.csv", 'file,caption\na.mp4,"a dog, running"\nb.mp4,a cat\na.mp4,a brown dog\n'),
        ("c.json", json.dumps({"a.mp4": ["a dog, running", "a brown dog"], "b.mp4": "a cat"})),
        (
            "c.jsonl",
            '{"file": "a.mp4", "caption": ["a dog, running", "a brown dog"]}\n{"file": "b.mp4", "caption": "a cat"}',
        ),
    ],
)
def test_captions_come_from_a_file(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    for clip in ("a.mp4", "b.mp4", "silent.mp4"):
        (tmp_path / clip).touch()
    data = VideoFolder(tmp_path, captions=tmp_path / name)
    captions = [data.record(i)["caption"] for i in range(len(data))]
    assert captions == [["a dog, running", "a brown dog"], "a cat"]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("c.csv", "name,caption\na.mp4,a dog\n", r"needs \['file'\] too"),
        ("c.json", "[", "is broken"),
        ("c.json", "[1]", "needs one object from file to caption, not a list"),
        ("c.json", '{"a.mp4": {"en": "a dog"}}', "needs a caption or a list of captions"),
        ("c.jsonl", '{"name": "a.mp4"}', "has no 'file'"),
        ("c.jsonl", '{"file": "a.mp4"}', "needs a caption"),
        ("c.txt", "", r"ends in '\.txt'; expected one of \.csv, \.json, \.jsonl"),
    ],
)
def test_what_is_wrong_with_a_file_of_captions_is_reported(tmp_path, name, text, reason):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"captions: .*{reason}"):
        VideoFolder(tmp_path, captions=tmp_path / name)


def test_a_folder_without_videos_and_a_missing_folder_are_reported(tmp_path):
    with pytest.raises(ValueError, match=r"no video of .* ends in \.mp4"):
        VideoFolder(tmp_path)
    with pytest.raises(FileNotFoundError, match="root: gone does not exist"):
        VideoFolder("gone")


def test_a_caption_for_a_file_outside_the_folder_is_a_bad_record(tmp_path):
    (tmp_path / "c.json").write_text('{"../a.mp4": "a dog"}')
    with pytest.raises(RecordError, match=r"^\.\./a\.mp4: .*lies outside"):
        VideoFolder(tmp_path, captions=tmp_path / "c.json").record(0)


def test_a_broken_video_among_good_ones_is_named(write_clip, tmp_path):
    for name in ("a_good.mp4", "c_good.mp4"):
        write_clip(name=name)
    (tmp_path / "b_broken.mp4").write_bytes(write_clip(name="x.mp4").read_bytes()[:300])
    data = VideoFolder(tmp_path, pipeline=[SampleFrames(num_frames=2, training=False)], subset=dict(stop=3))
    with pytest.raises(RecordError, match=r"^b_broken\.mp4: .*cannot be opened by decord"):
        data[1]
    assert [levels(data[i]["frames"]) for i in (0, 2)] == [[0, 3], [0, 3]]


def test_the_readers_agree_on_the_real_clips(shared):
    data = VideoFolder(shared / "data" / "videos")
    assert len(data) == 7
    for index in range(len(data)):
        record = data.record(index)
        clips = [reader.open(record["video"]) for reader in (DecordReader(), PyAVReader())]
        assert len(clips[0]) == len(clips[1]), record["id"]
        chosen = [len(clips[0]) - 1, 0, len(clips[0]) // 2]
        for ours, theirs in zip(*(clip.get(chosen) for clip in clips), strict=True):
            assert np.abs(ours.astype(int) - theirs).max() <= 2, record["id"]


@pytest.mark.parametrize("as_bytes", [False, True])
def test_clips_that_decord_does_not_know_are_read_with_pyav(tmp_path, as_bytes):
    pytest.importorskip("decord")
    pytest.importorskip("av")
    from PIL import Image

    frames = [Image.new("RGB", (32, 16), (60 * n,) * 3) for n in range(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    source = (tmp_path / "a.gif").read_bytes() if as_bytes else tmp_path / "a.gif"
    clip = DecordReader().open(source)
    assert [int(frame.mean()) for frame in clip.get(range(len(clip)))] == [0, 60, 120, 180]
