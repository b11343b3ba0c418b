"""ARO (arXiv:2210.01936): relations and attributes of Visual Genome in boxes, and captions in wrong orders.

The orders of COCO and Flickr30k are files of `image` and `caption_options`, the true caption first. Paths start from
`data_root`.
"""

data_root = "data/aro"

pipeline = [
    dict(type="LoadImage"),
    dict(type="CropToBox"),
    dict(type="PickHardNegatives"),
    dict(type="Resize", size=384),
    dict(type="PackSample"),
]
evaluations = dict(
    relation=dict(
        dataset=dict(
            type="HardNegatives",
            layout="aro",
            ann_file="visual_genome_relation.json",
            image_root="images",
            pipeline=pipeline,
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="HardNegativeMetric"),
        batch_size=32,
        num_workers=4,
    ),
    attribution=dict(
        dataset=dict(
            type="HardNegatives",
            layout="aro",
            ann_file="visual_genome_attribution.json",
            image_root="images",
            pipeline=pipeline,
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="HardNegativeMetric", least=25),
        batch_size=32,
        num_workers=4,
    ),
    coco_order=dict(
        dataset=dict(
            type="HardNegatives", layout="aro", ann_file="coco_order.json", image_root="coco", pipeline=pipeline
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="HardNegativeMetric"),
        batch_size=32,
        num_workers=4,
    ),
    flickr30k_order=dict(
        dataset=dict(
            type="HardNegatives",
            layout="aro",
            ann_file="flickr30k_order.json",
            image_root="flickr30k",
            pipeline=pipeline,
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="HardNegativeMetric"),
        batch_size=32,
        num_workers=4,
    ),
)
