import numpy as np
import pytest

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.inspection.leakage import fingerprint_dataset, shared_records
from x2vlm.data.inspection.perceptual_hash import VIEWS
from x2vlm.data.record import RecordError


def noise(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))


class Images(Adapter):
    """One record for each image; None is a broken record."""

    def __init__(self, name, images):
        super().__init__()
        self.name, self.images = name, images

    def __len__(self):
        return len(self.images)

    def record(self, index):
        where = f"{self.name}:{index + 1}"
        if self.images[index] is None:
            raise RecordError(where, "broken")
        return {"where": where, "id": f"{self.name}-{index}", "image": self.images[index], "extras": {}}


def test_a_fingerprint_has_hashes_of_usable_images_and_counts_the_others():
    blank = np.full((48, 64, 3), 200, np.uint8)
    data = fingerprint_dataset("train", Images("a", [noise(0), blank, None, noise(1)]))
    assert (data.ids, data.wheres) == (["a-0", "a-1", "a-3"], ["a:1", "a:2", "a:4"])
    assert data.owner.tolist() == [0, 2]
    assert data.hashes.shape[:2] == (2, len(VIEWS))
    assert (data.low_contrast, [bad.where for bad in data.bad]) == (1, ["a:3"])


def test_without_images_there_are_identities_only():
    data = fingerprint_dataset("train", Images("a", [noise(0), noise(1)]), images=False)
    assert (len(data.ids), len(data.hashes)) == (2, 0)


@pytest.mark.parametrize(("by", "methods"), [(("ids",), ["ids"]), (("pictures",), ["pictures"])])
def test_copies_are_found_by_image_and_records_by_identity(by, methods):
    train = fingerprint_dataset("train", Images("a", [noise(0), noise(1), noise(2)]))
    test = fingerprint_dataset("test", Images("a", [noise(7), noise(8), noise(9)] if by == ("ids",) else [noise(1)]))
    pairs = shared_records(train, test, by)
    assert sorted({pair["by"] for pair in pairs}) == methods
    ids = [(pair["train_id"], pair["test_id"]) for pair in pairs]
    assert ids == ([(f"a-{i}", f"a-{i}") for i in range(3)] if by == ("ids",) else [("a-1", "a-0")])
