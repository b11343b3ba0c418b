import pickle

import pytest

from x2vlm.building import ConfigError, PartError
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.record import RecordError


class Numbers(Adapter):
    """Records 0, 1, 2; number 1 is bad."""

    def __len__(self):
        return 3

    def record(self, index):
        if index == 1:
            raise RecordError("numbers:2", "it is one")
        return {"where": f"numbers:{index + 1}", "value": index}


def fail(error):
    def step(record):
        raise error

    return step


def test_a_record_goes_through_the_transforms_in_order():
    steps = [lambda r: r | {"value": r["value"] + 1}, lambda r: r | {"value": r["value"] * 10}]
    assert Numbers(pipeline=steps)[2]["value"] == 30


def test_without_transforms_the_record_comes_out():
    assert Numbers()[0] == {"where": "numbers:1", "value": 0}


def test_a_bad_record_is_named_and_the_others_come_out():
    with pytest.raises(RecordError, match=r"^numbers:2: it is one$"):
        Numbers()[1]


def test_an_error_of_a_transform_names_the_record_and_keeps_its_message():
    with pytest.raises(RecordError, match=r"^numbers:1: clip\.mp4: has no frames$") as caught:
        Numbers(pipeline=[fail(RecordError("clip.mp4", "has no frames"))])[0]
    assert caught.value.where == "numbers:1"


def test_a_file_that_a_foreign_transform_cannot_read_is_a_bad_record():
    with pytest.raises(RecordError, match=r"numbers:1: .*gone\.jpg"):
        Numbers(pipeline=[fail(FileNotFoundError("gone.jpg"))])[0]


def test_a_programming_error_in_a_transform_is_not_taken_for_a_bad_record():
    with pytest.raises(PartError, match=r"numbers:1: .* raised ZeroDivisionError: by nothing") as caught:
        Numbers(pipeline=[fail(ZeroDivisionError("by nothing"))])[0]
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_transform_that_drops_a_record_is_named():
    with pytest.raises(RecordError, match="numbers:1: <lambda> dropped it"):
        Numbers(pipeline=[lambda record: None])[0]


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_outside_is_reported(index):
    with pytest.raises(IndexError, match=f"Numbers has no record {index}: it has 3"):
        Numbers()[index]


def test_an_unknown_transform_is_named_with_its_place_and_the_closest_name():
    with pytest.raises(ConfigError, match=r"pipeline\[0\].*'LoadImage'"):
        Numbers(pipeline=[dict(type="LoadImages")])


def test_a_record_error_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(RecordError("a:1", "broken")))
    assert (error.where, error.reason, str(error)) == ("a:1", "broken", "a:1: broken")
