import numpy as np
import pytest

from tests.raw_sets import copy_of, scene
from x2vlm.data.batch import BadRecord
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.inspection.held_out import HeldOutImages, fingerprint_test_set, hashes_of, stored_fingerprint
from x2vlm.data.inspection.leakage import DatasetFingerprint
from x2vlm.data.inspection.perceptual_hash import VIEWS, WORDS


def fingerprint(name, numbers, ids=None):
    hashes = hashes_of([np.asarray(scene(number)) for number in numbers])
    ids = ids or [f"coco:{number}" for number in numbers]
    return DatasetFingerprint(name, ids, ["?"] * len(ids), hashes, np.arange(len(ids)), 0, [])


def test_the_nearest_test_image_is_named_and_others_match_nothing():
    held_out = HeldOutImages.of([(fingerprint("a", (1, 2)), True), (fingerprint("b", (3,)), True)], {})
    match = held_out.match_hashes(hashes_of([np.asarray(scene(9)), np.asarray(copy_of(3))]))
    assert (match["by"], match["test"], match["test_id"], match["mirrored"]) == ("pictures", "b", "coco:3", True)
    assert held_out.match_hashes(hashes_of([np.asarray(scene(9))])) is None
    assert held_out.match_hashes(hashes_of([])) is None
    assert held_out.match_name("coco:2") == {"by": "ids", "test": "a", "test_id": "coco:2"}


def test_names_of_one_data_set_alone_match_nothing():
    held_out = HeldOutImages.of([(fingerprint("a", (1,), ["dev.jsonl:17"]), False)], {})
    assert held_out.match_name("dev.jsonl:17") is None


def test_without_test_sets_nothing_matches():
    held_out = HeldOutImages.of([], {})
    assert held_out.match_hashes(hashes_of([np.asarray(scene(1))])) is None


def test_images_without_contrast_have_no_hash():
    assert hashes_of([np.full((40, 40, 3), 7, dtype=np.uint8)]).shape == (0, len(VIEWS), WORDS)


@pytest.mark.parametrize("change", ["distance", "test set"])
def test_whatever_decides_what_is_left_out_is_in_the_digest(change):
    def digest(numbers, distance):
        return HeldOutImages.of([(fingerprint("a", numbers), True)], {}, distance).digest()

    assert digest((1,), 24) == digest((1,), 24)
    assert digest((1,), 24) != (digest((1,), 23) if change == "distance" else digest((2,), 24))


class Scenes(Adapter):
    def __init__(self, count=2, torn=None):
        super().__init__()
        self.count, self.torn = count, torn

    def __len__(self):
        return self.count

    def record(self, index):
        image = b"torn" if index == self.torn else np.asarray(scene(index))
        return {"where": f"a:{index}", "id": str(index), "image": image, "extras": {}}


def test_a_fingerprint_is_kept_for_the_same_request(tmp_path):
    first = fingerprint_test_set("a", Scenes(), "coco", 0, tmp_path, {"dataset": 1})
    first.bad.append(BadRecord("a:9", "broken"))
    stored = stored_fingerprint("a", tmp_path, {"dataset": 1})
    assert (stored.ids, stored.wheres, stored.bad) == (["coco:0", "coco:1"], ["a:0", "a:1"], [])
    assert np.array_equal(stored.hashes, first.hashes) and np.array_equal(stored.owner, first.owner)
    assert stored_fingerprint("a", tmp_path, {"dataset": 2}) is None


def test_a_test_image_that_cannot_be_read_is_held_out_by_its_name(tmp_path):
    test = fingerprint_test_set("a", Scenes(3, torn=1), "coco", 0, tmp_path, {})
    assert (len(test.hashes), [bad.where for bad in test.bad]) == (2, ["a:1"])
    held_out = HeldOutImages.of([(test, True)], {})
    assert held_out.match_name("coco:1")["test"] == "a"
    assert held_out.match_hashes(hashes_of([np.asarray(copy_of(2))]))["test_id"] == "coco:2"
