"""NExT-QA with open answers (NExT-OE): its CSV tables and a JSON object from video to path; otherwise as MSVD-QA.

Paths start from `data_root`.
"""

from mmengine.config import read_base

with read_base():
    from .msvd_qa_data import *

data_root = "data/next_oe"
table = dict(
    type="Table",
    columns=dict(video="video", question="question", answers="answer", extras=("qid", "type")),
    file_map="map_vid_vidorID.json",
    file_pattern="{}.mp4",
    image_root="videos",
)
streams.video.dataset = dict(**table, ann_file="train.csv", pipeline=streams.video.dataset.pipeline)
evaluations.val.dataset = dict(**table, ann_file="val.csv", pipeline=evaluations.val.dataset.pipeline)
evaluations.test.dataset = dict(**table, ann_file="test.csv", pipeline=evaluations.test.dataset.pipeline)
