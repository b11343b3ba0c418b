"""MSVD-QA: as MSRVTT-QA, with 8 frames of 224 pixels and 1000 answers, as published. Paths start from `data_root`."""

from mmengine.config import read_base

with read_base():
    from .msrvtt_qa_data import *

data_root = "data/msvd_qa"
objectives.classification.num_classes = 1000
streams.video.dataset.pipeline[0].num_frames = 8
streams.video.dataset.pipeline[3].size = 224
evaluations.val.dataset.pipeline[0].num_frames = evaluations.test.dataset.pipeline[0].num_frames = 8
evaluations.val.dataset.pipeline[3].size = evaluations.test.dataset.pipeline[3].size = 224
