"""The data of the second stage: the 4M data, more regions, and videos, of which 35 % of the steps take the cleaner set.

Published: HowTo100M (1,704,857 videos) and YT-Temporal (5,306,576), filtered; the cleaner ones are WebVid
(2,492,317). A line has `video_frames` (one a second, base64 or paths; of clips a list for each) and `text` (one for
each clip). Every frame is cropped, mirrored and coloured on its own. Paths start from `data_root`.

Raw files in place of these, by data set (docs/public_data.md):

    streams.video.datasets.0: HowTo100M(captions_file="caption.json", video_root="howto100m")
    streams.video.datasets.1: YtTemporal(ann_file="yttemporal180m_*.jsonl", video_root="yttemporal")
    streams.video_clean.datasets.0: WebVid(ann_file="results_2M_train.csv", video_root="webvid")
"""

from mmengine.config import read_base

with read_base():
    from .pretrain_more_regions_data import *

video_pipeline = [
    dict(type="SampleFrames", num_frames=3, join_until=8),
    dict(type="PickCaption", max_words=40),
    dict(type="RandomResizedCrop", size=224, scale=(0.2, 1.0), per_frame=True),
    dict(type="Flip", careful=False, per_frame=True),
    dict(type="RandAugment", per_frame=True),
    dict(type="PackSample"),
]
streams.video = dict(
    dataset=dict(
        type="Concat",
        names=("howto100m", "yttemporal"),
        images=(1_704_857, 5_306_576),
        times=(1, 1),
        datasets=[
            dict(type="LinesOrShards", ann_file="videos/howto100m/*.jsonl", image_root="."),
            dict(type="LinesOrShards", ann_file="videos/yttemporal/*.jsonl", image_root="."),
        ],
        pipeline=video_pipeline,
    ),
    collate=dict(type="PairCollate", max_tokens=40, masking=masking),
    batch_size=40,
    objectives=("itc", "itm", "mlm"),
    num_workers=4,
)
streams.video_clean = dict(
    dataset=dict(
        type="Concat",
        names=("webvid",),
        images=(2_492_317,),
        times=(1,),
        datasets=[dict(type="LinesOrShards", ann_file="videos/webvid/*.jsonl", image_root=".")],
        pipeline=video_pipeline,
    ),
    collate=dict(type="PairCollate", max_tokens=40, masking=masking),
    batch_size=40,
    objectives=("itc", "itm", "mlm"),
    num_workers=4,
)
turns = dict(
    clean=dict(share=0.35, streams=("video_clean", "image", "region")),
    other=dict(share=0.65, streams=("video", "image", "region")),
)
