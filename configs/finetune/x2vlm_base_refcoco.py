"""X2-VLM base: grounding on RefCOCO, as on RefCOCO+.

Raw files in place of these, by data set (docs/public_data.md):

    streams.region: RefCoco(refs_file="refcoco/refs(unc).p", instances_file="refcoco/instances.json",
        image_root="train2014")
    evaluations.*: RefCoco(refs_file="refcoco/refs(unc).p", instances_file="refcoco/instances.json",
        image_root="train2014", split="val")
"""

from mmengine.config import read_base

with read_base():
    from .x2vlm_base_refcoco_plus import *

data_root = "data/refcoco"
