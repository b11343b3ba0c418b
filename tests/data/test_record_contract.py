"""A plugin's adapter or transform that breaks its contract is named with the record and what was expected."""

import csv

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from x2vlm.building import ConfigError, PartError
from x2vlm.data import Adapter, PackSample, PairCollate, RecordError, Sample, streams
from x2vlm.data.record_contract import misspelt_keys, pairs_problem
from x2vlm.data.replace_bad_records import SeededDataset
from x2vlm.data.streams import check_dataset
from x2vlm.data.transforms.images.box_geometry import flip_boxes, move_boxes
from x2vlm.data.transforms.images.geometry import mirror
from x2vlm.testing import assert_adapter, assert_boxes_follow, assert_transform, known_picture


class Captions(Adapter):
    """Three captions; ``give`` makes mistakes."""

    def __init__(self, give=lambda index: {"where": f"mine:{index}", "texts": ["a dog"]}, size=3, pipeline=()) -> None:
        super().__init__([*pipeline, PackSample()])
        self.give, self.size = give, size

    def __len__(self) -> int:
        return self.size

    def record(self, index: int) -> dict:
        return self.give(index)


RECORDS = {
    "None": (lambda index: None, r"Captions\.record\(1\) gave None; expected a dict with 'where'.*raises RecordError"),
    "no place": (lambda index: {"texts": ["a"]}, r"gave a dict without 'where' \(its keys: texts\)"),
    "an error": (lambda index: {}["caption"], r"record 1 of 3: Captions raised KeyError: 'caption'"),
    "no identity": (lambda index: {"where": "m", "id": None}, r"record\(1\) gave None as 'id'.*count as one image"),
    "a tensor": (
        lambda index: {"where": "m", "image": torch.zeros(4, 4, 3)},
        r"record\(1\) gave a Tensor as 'image'; expected a path, the bytes of a file, or an \[H, W, 3\] uint8 array",
    ),
    "one element": (
        lambda index: {"where": "m", "elems": {"bb": [0, 0, 1, 1], "caption": "a"}},
        r"record\(1\) gave a dict as 'elems'; expected a list of dicts with 'bb' \(x, y, width, height\)",
    ),
    "beyond the end": (lambda index: [][index], r"Captions raised IndexError.*Is Captions\.__len__, 3, more than"),
}


@pytest.mark.parametrize("mistake", RECORDS)
def test_an_adapter_is_told_what_it_gave_and_what_was_expected(mistake):
    give, message = RECORDS[mistake]
    with pytest.raises(PartError, match=message):
        Captions(give)[1]


def test_a_bad_record_stays_a_bad_record():
    def bad(index):
        raise RecordError(f"mine:{index}", "it is empty")

    with pytest.raises(RecordError, match="mine:1: it is empty"):
        Captions(bad)[1]


def test_an_error_in_a_stream_names_stream_record_and_class():
    dataset = SeededDataset(Captions(RECORDS["an error"][0]), "image")
    with pytest.raises(PartError, match=r"^'image': record 1 of 3: Captions raised KeyError: 'caption'$") as caught:
        dataset[1, 0]
    assert isinstance(caught.value.__cause__, KeyError)


class Plain(Dataset):
    """A data set as torch knows them."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index):
        return {"image": index}


class Endless(Plain):
    __len__ = None


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        (Plain(), ConfigError, r"streams\.a\.dataset: Plain gave dict for record 0, .*Adapter.*PackSample"),
        (Endless(), ConfigError, r"streams\.a\.dataset: Endless has no __len__"),
        (Captions(lambda index: [{"where": "m", "texts": ["a"]}][index], size=2), PartError, r"Captions\.__len__, 2"),
    ],
    ids=["plain", "no length", "too long"],
)
def test_a_data_set_is_read_at_both_ends_before_a_run(dataset, error, message):
    collate = PairCollate.__new__(PairCollate)
    with pytest.raises(error, match=message):
        check_dataset("streams.a.dataset", dataset, collate)


def with_boxes(**changes):
    return known_picture() | changes


def changed(**changes):
    return lambda record: record | changes


class Mirror:
    """Mirrors, with its boxes or without."""

    def __init__(self, moves_pixels=None, boxes=True) -> None:
        self.boxes = boxes
        if moves_pixels is not None:
            self.moves_pixels = moves_pixels

    def __call__(self, record):
        after = record | {"frames": [mirror(frame) for frame in record["frames"]]}
        width = record["frames"][0].shape[1]
        return move_boxes(after, lambda boxes: flip_boxes(boxes, width)) if self.boxes else after


TRANSFORMS = {
    "floats": (changed(frames=[np.zeros((4, 4, 3), np.float32)]), r"a frame is float32 \[4, 4, 3\]; expected uint8"),
    "grey": (changed(frames=[np.zeros((4, 4), np.uint8)]), r"a frame is uint8 \[4, 4\]; expected uint8 \[H, W, 3\]"),
    "no list": (changed(frames=np.zeros((4, 4, 3), np.uint8)), r"frames is a ndarray; expected a list"),
    "no frame": (changed(frames=[]), r"frames is empty; expected a list of"),
    "an empty frame": (changed(frames=[np.zeros((0, 4, 3), np.uint8)]), r"a frame is empty, \[0, 4, 3\]; expected"),
    "a text for texts": (changed(texts="a dog"), r"texts is a str; expected a list of strings"),
    "no text": (changed(texts=[None]), r"a text is None; expected a string"),
    "texts forgotten": (
        lambda record: {key: value for key, value in record.items() if key != "texts"},
        r"lost 'texts'\. Return the record it was given with its changes",
    ),
    "no numbers": (
        changed(boxes_xyxy_px=np.full((1, 4), np.nan)),
        r"left the box \[nan, nan, nan, nan\]; expected \(x0, y0, x1, y1\) in pixels",
    ),
    "three numbers": (
        changed(boxes_xyxy_px=np.ones((1, 3))),
        r"left boxes_xyxy_px \[1, 3\]; expected \(x0, y0, x1, y1\)",
    ),
    "inside out": (changed(boxes_xyxy_px=np.array([[9, 9, 1, 1]])), r"left the box .*, which is inside out"),
    "outside": (
        changed(boxes_xyxy_px=np.array([[100, 0, 120, 9]])),
        r"left the box .*, outside of its frame of 48x64 \(rows x columns\); .*Drop such pairs",
    ),
    "a word for yes": (Mirror(moves_pixels="yes"), r"Mirror\.moves_pixels is 'yes'; expected True or False"),
    "no place": (lambda record: {"texts": record["texts"]}, r"lost 'where'\. Return the record it was given"),
    "one box of two": (changed(texts=["a", "b"], ids=["a", "b"], has_box=[True, True]), r"2 texts.*1 boxes_xyxy_px"),
    "another size": (
        changed(frames=[np.zeros((24, 32, 3), np.uint8)]),
        r"changed the frames from 48x64 to 24x32 and left the boxes as they were.*moves_pixels",
    ),
    "silent": (Mirror(boxes=False), r"Mirror changes pixels of a record with boxes and does not say whether it moves"),
    "no colours": (Mirror(moves_pixels=False), r"Mirror moved boxes although it declares moves_pixels = False"),
}


@pytest.mark.parametrize("mistake", TRANSFORMS)
def test_a_transform_is_told_what_it_made_and_what_was_expected(mistake):
    step, message = TRANSFORMS[mistake]
    adapter = Captions(lambda index: with_boxes(where="mine:0"), pipeline=[step])
    # Boxes beside unchanged pixels may be the annotation's: they cost the record, not the run.
    error = RecordError if mistake in ("no numbers", "inside out", "outside") else PartError
    with pytest.raises(error, match=f"^mine:0: .*{message}"):
        adapter[0]


@pytest.mark.parametrize("mistake", ["no numbers", "inside out", "outside"])
def test_such_boxes_of_a_record_that_is_right_are_the_transforms(mistake):
    step, message = TRANSFORMS[mistake]
    with pytest.raises(AssertionError, match=message):
        assert_transform(step, with_boxes(where="mine:0"))


def cropped_in_place(record):
    record["frames"] = [record["frames"][0][:20, :20]]
    return record


def lost_in_place(record):
    record.pop("texts")
    return record


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (cropped_in_place, r"changed the frames from 48x64 to 20x20 and left the boxes as they were"),
        (lost_in_place, r"lost 'texts'"),
    ],
)
def test_a_transform_that_returns_the_dict_it_was_given_is_looked_at_too(step, message):
    adapter = Captions(lambda index: with_boxes(where="mine:0"), pipeline=[step])
    with pytest.raises(PartError, match=f"^mine:0: .*{message}"):
        adapter[0]


def test_a_right_step_behind_a_wrong_box_is_not_to_blame():
    boxes = np.array([[9.0, 9.0, 1.0, 1.0]])
    adapter = Captions(
        lambda index: with_boxes(where="mine:0") | {"boxes_xyxy_px": boxes}, pipeline=[Mirror(moves_pixels=True)]
    )
    with pytest.raises(RecordError, match=r"^mine:0: the record before left the box .*, which is inside out"):
        adapter[0]


def test_what_cannot_be_called_is_no_transform():
    class Resizing:
        def transform(self, record):
            return record

    with pytest.raises(ConfigError, match=r"^pipeline\[0\]: Resizing is no transform: it has no __call__\(record\)"):
        Captions(pipeline=[dict(type=Resizing)])


def test_a_function_that_drops_a_record_is_named():
    def forget(record):
        record | {"caption": "a"}

    with pytest.raises(RecordError, match=r"^mine:1: forget dropped it"):
        Captions(pipeline=[forget])[1]


class Growing(Captions):
    """Its one record gets longer whenever it is read."""

    kept: dict = {"where": "mine:0", "texts": []}

    def record(self, index):
        self.kept["texts"].append("another")
        return self.kept


def test_the_helper_sees_an_adapter_that_writes_into_what_it_keeps():
    with pytest.raises(AssertionError, match="is another one when it is read again"):
        assert_adapter(Growing(None))


def test_a_transform_that_raises_is_named_with_its_record():
    def fail(record):
        raise KeyError("size")

    with pytest.raises(PartError, match=r"^mine:1: fail raised KeyError: 'size'$"):
        Captions(pipeline=[fail])[1]


def test_colours_may_change_and_boxes_may_follow():
    def brighter(record):
        return record | {"frames": [frame + np.uint8(1) for frame in record["frames"]]}

    brighter.moves_pixels = False
    sample = Captions(lambda index: with_boxes(), pipeline=[brighter, Mirror(moves_pixels=True)])[0]
    assert isinstance(sample, Sample)
    assert sample.boxes_xyxy[0].tolist() == pytest.approx([1 - 24 / 64, 12 / 48, 1 - 8 / 64, 36 / 48])


@pytest.mark.parametrize("key", ["ids", "has_box", "boxes_xyxy_px"])
def test_a_sample_has_as_many_boxes_and_identities_as_texts(key):
    """One box of three was broadcast to every phrase."""
    three = with_boxes(texts=["a", "b", "c"], ids=list("abc"), has_box=[True] * 3, boxes_xyxy_px=np.ones((3, 4)))
    assert pairs_problem(three) == ""
    with pytest.raises(ValueError, match=rf"known picture: the record has 3 texts.* 1 {key}.*expected as many of each"):
        PackSample()(three | {key: three[key][:1]})


def test_the_helper_sees_where_boxes_went():
    assert_boxes_follow(Mirror(moves_pixels=True))
    assert_boxes_follow(dict(type="RandomResizedCrop", size=32, scale=(0.7, 1.0)))
    assert_boxes_follow(dict(type="Flip", prob=0.5))
    assert_boxes_follow(dict(type="Resize", size=96))
    with pytest.raises(AssertionError, match=r"the rectangle is at \[40\.0, .*\], its box at \[8\.0"):
        assert_boxes_follow(Mirror(boxes=False))


def test_the_helper_refuses_a_transform_that_changes_what_it_was_given():
    def spoil(record):
        record["where"] = "elsewhere"
        return record

    with pytest.raises(AssertionError, match="changed 'where' of the record it was given"):
        assert_transform(spoil)


class Table(Adapter):
    """Pictures and captions from a CSV file."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = file
        with open(file, newline="") as text:
            self.rows = list(csv.DictReader(text))

    def __len__(self) -> int:
        return len(self.rows)

    def record(self, index: int) -> dict:
        row = self.rows[index]
        if not row["caption"]:
            raise RecordError(f"{self.file}:{index + 2}", "its caption is empty")
        return {"where": f"{self.file}:{index + 2}", "image": row["image"], "caption": row["caption"]}


def test_the_helper_passes_an_adapter_with_bad_records(tmp_path):
    (tmp_path / "a.csv").write_text("image,caption\na.jpg,a dog\nb.jpg,\n")
    assert_adapter(Table(str(tmp_path / "a.csv")))
    with pytest.raises(AssertionError, match="not one of the records could be used"):
        (tmp_path / "b.csv").write_text("image,caption\nb.jpg,\n")
        assert_adapter(Table(str(tmp_path / "b.csv")))


class WithoutInit(Captions):
    def __init__(self) -> None:
        pass


class NotAnAdapter:
    def record(self, index):
        return {}


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (WithoutInit(), r"WithoutInit\.__init__ must call super\(\)\.__init__\(pipeline, limits\)"),
        (NotAnAdapter(), r"NotAnAdapter is no Adapter\. Derive it from x2vlm\.data\.Adapter"),
    ],
)
def test_an_adapter_that_is_not_whole_is_refused_when_it_is_built(dataset, message):
    with pytest.raises(ConfigError, match=rf"^streams\.a\.dataset: {message}"):
        check_dataset("streams.a.dataset", dataset, None)


def test_an_adapter_that_cannot_be_copied_to_workers_is_told():
    with pytest.raises(AssertionError, match=r"Captions cannot be copied to worker processes: .*Keep no open file"):
        assert_adapter(Captions())


def test_a_data_set_of_which_neither_end_can_be_used_is_a_warning(monkeypatch):
    def bad(index):
        raise RecordError(f"mine:{index}", "there is no caption")

    messages = []
    monkeypatch.setattr(streams, "print_log", lambda message, **_: messages.append(message))
    check_dataset("streams.a.dataset", Captions(bad), None)
    assert messages == [
        "streams.a.dataset: neither the first nor the last record of Captions could be used: there is no caption."
    ]


def test_a_key_that_nearly_is_one_of_the_library_is_told():
    assert misspelt_keys({"where": "a:1", "captions": "a dog", "speaker": 3}) == [
        "'captions' is no key that the library reads. Did you mean 'caption'?"
    ]


def shares(boxes):
    return boxes / 64


def width_and_height(boxes):
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2] - 12], axis=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shares, r"Moving left the box \[.*\], as if in shares of the frame; expected \(x0, y0, x1, y1\) in pixels"),
        (width_and_height, r"Moving left the box \[.*\], which is inside out; expected"),
    ],
)
def test_boxes_of_another_format_are_told(change, message):
    class Moving:
        moves_pixels = True

        def __call__(self, record):
            return record | {"frames": [record["frames"][0].copy()], "boxes_xyxy_px": change(record["boxes_xyxy_px"])}

    with pytest.raises(AssertionError, match=message):
        assert_transform(Moving())


def test_a_transform_that_writes_into_its_frames_is_told():
    class Darker:
        moves_pixels = False

        def __call__(self, record):
            record["frames"][0][:] //= 2
            return dict(record)

    with pytest.raises(AssertionError, match=r"it changed 'frames' of the record it was given; return a new one"):
        assert_transform(Darker())


def test_a_transform_that_drops_every_record_is_asked_for_its_return():
    with pytest.raises(AssertionError, match=r"it returned None for each of 3 records.*Is its return forgotten"):
        assert_transform(lambda record: None)


def test_a_transform_that_drops_some_records_is_fine():
    def drop_some(record):
        return record if np.random.rand() < 0.7 else None

    assert assert_transform(drop_some)["texts"] == ["a red rectangle"]
