"""A folder of images without any words, to be searched with the model of `own_photos.py` (docs/own_data.md).

x2vlm gallery encode configs/finetune/own_photos_folder.py work_dirs/own/iter_400.pth gallery
"""

from mmengine.config import read_base

with read_base():
    from .own_photos import *

evaluations = dict(
    folder=dict(
        dataset=dict(
            type="ImageFolder",
            root="photos",
            labels=False,
            pipeline=[dict(type="LoadImage"), dict(type="Resize", size=224), dict(type="PackSample")],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="RetrievalMetric", k=32),
        batch_size=16,
    ),
)
