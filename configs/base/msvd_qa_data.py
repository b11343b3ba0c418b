"""MSVD-QA: as MSRVTT-QA, with 8 frames of 224 pixels and 1000 answers, as published. Paths start from `data_root`.

Raw files in place of these, by data set (docs/public_data.md):

    *: VideoQuestions(ann_file="train_qa.json", video_root="YouTubeClips", video_map="youtube_mapping.txt",
        file_pattern="{}.avi")
"""

from mmengine.config import read_base

with read_base():
    from .msrvtt_qa_data import *

data_root = "data/msvd_qa"
objectives.classification.num_classes = 1000
streams.video.dataset.pipeline[0].num_frames = 8
streams.video.dataset.pipeline[3].size = 224
evaluations.val.dataset.pipeline[0].num_frames = evaluations.test.dataset.pipeline[0].num_frames = 8
evaluations.val.dataset.pipeline[3].size = evaluations.test.dataset.pipeline[3].size = 224
