"""X2-VLM base: grounding on RefCOCOg, as on RefCOCO+; it has one test set.

Raw files in place of these, by data set (docs/public_data.md):

    streams.region: RefCoco(refs_file="refcocog/refs(umd).p", instances_file="refcocog/instances.json",
        image_root="train2014")
    evaluations.*: RefCoco(refs_file="refcocog/refs(umd).p", instances_file="refcocog/instances.json",
        image_root="train2014", split="val")
"""

from mmengine.config import read_base

with read_base():
    from .x2vlm_base_refcoco_plus import *

data_root = "data/refcocog"
evaluations.pop("test_b")
evaluations.test_a.dataset.ann_file = "test.json"
