"""The data of the first 1B stage: 1.3 billion noisy pairs (LAION), the clean images of the 4M runs and CC12M, regions.

In 15 % of the steps the images are clean and matching is trained; in the others they are noisy, and matching is off for
images and regions. Regions come from OpenImages and Objects365 too. Paths start from `data_root`.

Raw files in place of these, by data set (docs/public_data.md):

    streams.image.datasets.0: Img2Dataset(shards="laion/*.parquet", where_columns=dict(similarity=0.3),
        shuffle_buffer=10000)
    streams.image_clean.datasets.4: WebCaptions(ann_file="cc12m.tsv", downloads="cc12m", order="url caption")
"""

from mmengine.config import read_base

with read_base():
    from .pretrain_more_regions_data import *

streams.image.collate.max_tokens = streams.region.collate.max_tokens = 30
streams.image.dataset.pipeline[1].max_words = streams.region.dataset.pipeline[1].max_words = 30

streams.image_clean = dict(
    dataset=dict(
        type="Concat",
        names=("coco", "vg", "sbu", "cc3m", "cc12m"),
        images=(110_000, 100_000, 860_000, 2_900_000, 11_100_000),
        times=(1, 1, 1, 1, 1),
        datasets=[
            *streams.image.dataset.datasets,
            dict(type="LinesOrShards", ann_file="images/cc12m/*.jsonl", image_root="."),
        ],
        pipeline=streams.image.dataset.pipeline,
    ),
    collate=streams.image.collate,
    batch_size=128,
    objectives=("itc", "itm", "mlm"),
    num_workers=4,
)
streams.image.dataset = dict(
    type="Concat",
    names=("laion",),
    images=(1_300_000_000,),
    times=(1,),
    datasets=[dict(type="LinesOrShards", ann_file="images_noisy/laion/*.jsonl", image_root=".")],
    pipeline=streams.image.dataset.pipeline,
)
streams.image.objectives = ("itc", "mlm")
streams.region.weight = 0.5

turns = dict(
    clean=dict(share=0.15, streams=("image_clean", "region")),
    noisy=dict(share=0.85, streams=("image", "region"), without=("itm",)),
)
