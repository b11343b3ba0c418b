import base64
import json
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from x2vlm.building import ConfigError
from x2vlm.data.record import RecordError
from x2vlm.data.transforms.clips import EverySoOften, FrameList, gather_frames, join_captions
from x2vlm.data.transforms.images.load_crop_flip import Resize
from x2vlm.data.transforms.pack_sample import PackSample
from x2vlm.data.transforms.sample_frames import SampleFrames, sample_indices
from x2vlm.data.transforms.texts.text_transforms import PickCaption


def frames(*values, size=4):
    return [np.full((size, size, 3), value, np.uint8) for value in values]


def values(record):
    return [int(frame[0, 0, 0]) for frame in record["frames"]]


def record(**fields):
    return {"where": "train.jsonl:17", "id": "v", **fields}


def clips(*lengths, captions=None):
    """Neighbouring clips; frame f of clip c has the value 10 c + f."""
    captions = captions or [f"words {c}" for c in range(len(lengths))]
    return [{"video": frames(*range(10 * c, 10 * c + n)), "caption": captions[c]} for c, n in enumerate(lengths)]


class Reader:
    """Opens ``"5"`` as a clip of five frames, and notes the requested frames."""

    def __init__(self):
        self.requests = []

    def open(self, source):
        reader = self

        class Opened(FrameList):
            def get(self, indices):
                reader.requests.append((source, list(indices)))
                return super().get(indices)

        return Opened(frames(*range(int(source))), "reader")


@given(total=st.integers(1, 60), num_frames=st.integers(1, 12), training=st.booleans())
def test_frames_are_in_range_and_as_many_as_requested(total, num_frames, training):
    indices = sample_indices(total, num_frames, training)
    assert len(indices) == num_frames and all(0 <= index < total for index in indices)
    assert indices == sorted(indices)
    if total >= num_frames:
        assert len(set(indices)) == num_frames
    else:
        assert set(indices) == set(range(total))


@pytest.mark.parametrize(
    ("total", "num_frames", "expected"),
    [
        (9, 3, [0, 3, 6]),
        (10, 3, [0, 4, 7]),
        (11, 3, [0, 4, 8]),
        (3, 3, [0, 1, 2]),
        (2, 5, [0, 0, 0, 1, 1]),
        (2, 3, [0, 0, 1]),
        (3, 5, [0, 0, 1, 1, 2]),
    ],
)
def test_without_training_the_first_frame_of_each_segment_is_taken(total, num_frames, expected):
    assert sample_indices(total, num_frames, training=False) == expected


def test_in_training_each_segment_gives_a_random_frame(seed):
    drawn = [sample_indices(9, 3, training=True) for _ in range(300)]
    assert [sorted(set(column)) for column in zip(*drawn, strict=True)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_in_training_the_longer_segments_are_anywhere(seed):
    drawn = [sample_indices(4, 3, training=True) for _ in range(300)]  # segments of 2, 1, 1 in any order
    assert {tuple(each) for each in drawn} == {(0, 2, 3), (1, 2, 3), (0, 1, 3), (0, 1, 2)}


def test_a_short_clip_repeats_random_frames_in_place(seed):
    drawn = {tuple(sample_indices(2, 4, training=True)) for _ in range(100)}
    assert drawn == {(0, 0, 0, 1), (0, 0, 1, 1), (0, 1, 1, 1)}


def test_a_list_of_frames_needs_no_reader():
    sampled = SampleFrames(training=False, reader=dict(type="NoSuchReader"))(record(video=frames(*range(9))))
    assert values(sampled) == [0, 3, 6]
    assert sampled["extras"] == {"image_size": (4, 4)}


def test_a_file_is_opened_by_the_reader_and_only_the_sampled_frames_are_read():
    reader = Reader()
    sampled = SampleFrames(num_frames=2, training=False, reader=reader)(record(video="6"))
    assert values(sampled) == [0, 3]
    assert reader.requests == [("6", [0, 3])]


def test_a_frame_that_is_wanted_twice_is_read_once():
    reader = Reader()
    assert values(SampleFrames(num_frames=5, training=False, reader=reader)(record(video="2"))) == [0, 0, 0, 1, 1]
    assert reader.requests == [("2", [0, 1])]


def test_an_unknown_reader_is_named_when_a_file_is_to_be_opened():
    with pytest.raises(ConfigError, match=r"SampleFrames\.reader: 'DecordRaeder' .*Did you mean 'DecordReader'"):
        SampleFrames(reader=dict(type="DecordRaeder"))(record(video="6.mp4"))


def test_neighbours_are_joined_until_there_are_enough_frames(seed):
    step, met = SampleFrames(num_frames=8), Counter()
    for _ in range(200):
        joined = step(record(clips=clips(3, 3, 3, 3, 3)))
        numbers = sorted({value // 10 for value in values(joined)})
        assert numbers == list(range(numbers[0], numbers[0] + 3))  # three clips of three frames, side by side
        assert joined["caption"] == " ".join(f"words {n}" for n in numbers)
        met[numbers[0]] += 1
    assert set(met) == {0, 1, 2}


def test_neighbours_before_and_after_are_joined_equally_often(seed):
    step = SampleFrames()
    captions = Counter(step(record(clips=clips(4, 4, 4)))["caption"] for _ in range(600))
    assert set(captions) == {"words 0 words 1", "words 1 words 2"}
    assert abs(captions["words 0 words 1"] / 600 - 0.5) < 0.06


def test_joining_stops_at_the_ends_and_is_not_needed_for_long_clips(seed):
    assert SampleFrames()(record(clips=clips(2, 2)))["caption"] == "words 0 words 1"
    captions = {SampleFrames()(record(clips=clips(9, 8)))["caption"] for _ in range(20)}
    assert captions == {"words 0", "words 1"}
    assert SampleFrames(join_until=2)(record(clips=clips(2, 2)))["caption"] in ("words 0", "words 1")


def test_without_training_clips_are_joined_from_the_first_on():
    joined = SampleFrames(training=False)(record(clips=clips(4, 4, 4)))
    assert (joined["caption"], values(joined)) == ("words 0 words 1", [0, 3, 12])


def test_clips_without_words_are_skipped(seed):
    for _ in range(20):
        joined = SampleFrames(num_frames=8)(record(clips=clips(4, 4, 4, captions=["a", "[Music]", "b"])))
        assert joined["caption"] == "a b"
        assert {value // 10 for value in values(joined)} == {0, 2}
    with pytest.raises(RecordError, match="none of its 2 clips has speech"):
        SampleFrames()(record(clips=clips(4, 4, captions=["[Music]", None])))
    with pytest.raises(RecordError, match=r"its caption is \[Music\]"):
        SampleFrames()(record(video=frames(1), caption="[Music]"))


def test_joined_clips_from_files_are_opened_one_by_one():
    reader = Reader()
    files = [{"video": str(n), "caption": str(n)} for n in (5, 4, 9)]
    joined = SampleFrames(num_frames=3, training=False, reader=reader)(record(clips=files))
    assert joined["caption"] == "5 4"
    assert reader.requests == [("5", [0, 3]), ("4", [1])]


def test_captions_of_clips_are_joined_by_language(seed):
    assert join_captions(["a", ["b", "c"]]) in ("a b", "a c")
    assert join_captions([{"en": "a", "de": "x"}, {"en": ["b"], "fr": "y"}]) == {"en": "a b"}
    for captions in (["a", {"en": "b"}], [{"en": "a"}, {"de": "b"}]):
        with pytest.raises(ValueError, match="captions in different languages"):
            join_captions(captions)
        mixed = clips(4, 4, captions=captions)
        with pytest.raises(RecordError, match=r"train\.jsonl:17: .*different languages"):
            SampleFrames()(record(clips=mixed))


def test_a_clip_without_frames_or_with_frames_of_several_sizes_is_an_error():
    with pytest.raises(RecordError, match=r"train\.jsonl:17: the video has no frames"):
        SampleFrames()(record(video=[]))
    mixed = [*frames(1, size=4), *frames(2, size=5), *frames(3, size=4)]
    with pytest.raises(RecordError, match="its frames have several sizes: 4x4, 5x5"):
        SampleFrames()(record(video=mixed))


def test_a_broken_frame_names_the_record():
    with pytest.raises(RecordError, match=r"train\.jsonl:17: "):
        SampleFrames()(record(video=[b"broken"] * 3))


def test_frames_come_in_the_order_that_was_requested():
    parts = [FrameList(frames(0, 1), "w"), FrameList(frames(2), "w"), FrameList(frames(3, 4), "w")]
    assert [int(f[0, 0, 0]) for f in gather_frames(parts, [4, 0, 2, 4])] == [4, 0, 2, 4]


def test_joined_clips_become_a_sample_with_a_frame_axis():
    random.seed(0)
    results = record(clips=clips(4, 4))
    for step in (SampleFrames(num_frames=1), PickCaption(), Resize(2), PackSample()):
        results = step(results)
    assert results.pixels.shape == (1, 3, 2, 2)
    assert results.texts == ["words 0 words 1"]


@pytest.mark.parametrize("option", [{"num_frames": 0}, {"join_until": 0}])
def test_a_number_without_meaning_is_named(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))} is 0"):
        SampleFrames(**option)


class TenFrames:
    """A clip of 10 frames, 5 a second, whose frame ``i`` is of level ``i``."""

    fps = 5.0

    def __len__(self):
        return 10

    def get(self, indices):
        return [np.full((4, 4, 3), index, np.uint8) for index in indices]

    def open(self, source):
        return self


@pytest.mark.parametrize(
    ("segment", "expected"), [((0.4, 1.0), [2, 3, 4]), ((1.0, float("inf")), [5, 7, 9]), ((0, 9), [0, 4, 7])]
)
def test_a_segment_gives_frames_of_its_own_seconds_alone(segment, expected):
    sample = SampleFrames(training=False, reader=TenFrames())
    assert values(sample(record(video="a.mp4", segment=segment))) == expected


def test_a_segment_behind_the_end_is_a_bad_record():
    with pytest.raises(RecordError, match=r"begins at 3 seconds, but the video has 2\.0"):
        SampleFrames(reader=TenFrames())(record(video="a.mp4", segment=(3.0, 4.0)))


def test_segments_of_one_video_are_joined_with_their_words():
    clips = [{"video": "a.mp4", "segment": (n * 0.4, n * 0.4 + 0.4), "caption": f"w{n}"} for n in range(4)]
    found = SampleFrames(2, training=False, reader=TenFrames(), join_until=4)(record(clips=clips))
    assert (values(found), found["caption"]) == ([0, 2], "w0 w1")


def test_so_many_frames_a_second_are_looked_at():
    every = EverySoOften(Paced(75, 29.97), 1, "a:1")
    assert every.indices == [0, 29, 59]
    assert every.get([2, 0]) == [59, 0]
    assert EverySoOften(Paced(3, 0.5), 1, "a:1").indices == [0, 1, 2]


def test_a_file_that_does_not_tell_its_pace_is_refused():
    with pytest.raises(RecordError, match="does not say how many frames a second"):
        EverySoOften(Paced(3, 0.0), 1, "a:1")


def test_clips_that_do_not_continue_each_other_are_not_joined():
    apart = SampleFrames(num_frames=9, training=False).transform(record(clips=clips(4, 4), is_continuous=False))
    assert apart["caption"] == "words 0"
    assert max(values(apart)) == 3


def test_frames_in_a_json_file_are_in_base64(tmp_path, png):
    file = tmp_path / "a.json"
    file.write_text(json.dumps([base64.b64encode(png(size=(10, 8))).decode()] * 2))
    made = SampleFrames(num_frames=2, training=False).transform(dict(where="a:1", video=file))
    assert len(made["frames"]) == 2
    file.write_text("{}")
    with pytest.raises(RecordError, match="expected a list of frames in base64"):
        SampleFrames(num_frames=2).transform(dict(where="a:1", video=file))


class Paced:
    """A clip whose frames are their numbers."""

    def __init__(self, count, fps):
        self.count, self.fps = count, fps

    def __len__(self):
        return self.count

    def get(self, indices):
        return list(indices)
