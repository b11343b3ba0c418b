"""Flickr30K retrieval, Karpathy's split: as COCO, with the 32 nearest ranked again. Paths start from `data_root`.

Raw files in place of these, by data set (docs/public_data.md):

    streams.image: KarpathySplit(ann_file="dataset_flickr30k.json", image_root="flickr30k-images", captions_apart=True)
    evaluations.*: KarpathySplit(ann_file="dataset_flickr30k.json", image_root="flickr30k-images", split="test")
"""

from mmengine.config import read_base

with read_base():
    from .retrieval_coco_data import *

data_root = "data/flickr30k"
streams.image.dataset.ann_file = "flickr30k_train.json"
evaluations.val.dataset.ann_file = "flickr30k_val.json"
evaluations.retrieval.dataset.ann_file = "flickr30k_test.json"
evaluations.val.metric.k = evaluations.retrieval.metric.k = 32
