import numpy as np
import pytest

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.record import RecordError
from x2vlm.data.shard_writing.shard_record import EncodeRecord, as_json, record_digest


class Records(Adapter):
    def __init__(self, *records):
        super().__init__()
        self.records = records

    def __len__(self):
        return len(self.records)

    def record(self, index):
        return {"where": f"here:{index + 1}", "id": f"r{index}", "extras": {}, **self.records[index]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image": "gone.png"}, "gone.png: No such file"),
        ({"image": b"\x89PNG"}, "broken or not"),
        ({"extras": {"x": np.zeros(3)}}, "ndarray"),
        ({"extras": {"x": float("nan")}}, "nan is not a number of JSON"),
        ({"extras": {1: "x"}}, "dict"),
        ({"caption": 7}, "caption: expected a string"),
    ],
)
def test_what_cannot_be_packed_is_a_bad_record(change, reason, png):
    with pytest.raises(RecordError, match=rf"^here:1: .*{reason}"):
        EncodeRecord()(Records({"image": png(), "caption": "x", **change}), 0)


def test_numbers_of_numpy_and_tuples_become_those_of_json():
    assert as_json({"a": (np.float32(0.5), np.int64(3), np.bool_(True), None)}, "") == {"a": [0.5, 3, True, None]}


def test_a_digest_differs_for_every_difference(png):
    record = {"where": "a", "id": "1", "image": png(), "caption": "x", "extras": {"k": [1]}}
    changes = ({"id": "2"}, {"image": png((1, 1, 1))}, {"caption": "y"}, {"extras": {"k": [2]}}, {"elems": []})
    digests = {record_digest(record), *(record_digest(record | change) for change in changes)}
    assert len(digests) == 1 + len(changes)
    assert record_digest(record | {"where": "b"}) == record_digest(record)
