"""The 4M data with the boxes of both 1B stages: those of OpenImages and Objects365 as well (arXiv:2211.12402v1,
Table 1).

Published: OpenImages 1.7M images with 4.2M objects, Objects365 0.58M with 2.0M.

Raw files in place of these, by data set (docs/public_data.md):

    streams.region.datasets.6: OpenImages(boxes_file="train-annotations-bbox.csv",
        classes_file="class-descriptions-boxable.csv", image_root="train")
    streams.region.datasets.7: Coco(image_root=".", instances_file="zhiyuan_objv2_train.json")
"""

from mmengine.config import read_base

with read_base():
    from .pretrain_4m_data import *

streams.region.dataset.names = (*streams.region.dataset.names, "openimages", "objects365")
streams.region.dataset.images = (*streams.region.dataset.images, 1_700_000, 580_000)
streams.region.dataset.times = (*streams.region.dataset.times, 1, 1)
streams.region.dataset.datasets = [
    *streams.region.dataset.datasets,
    dict(type="LinesOrShards", ann_file="regions/openimages/*.jsonl", image_root=".", kind="object"),
    dict(type="LinesOrShards", ann_file="regions/objects365/*.jsonl", image_root=".", kind="object"),
]
