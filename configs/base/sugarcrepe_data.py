"""SugarCrepe (arXiv:2306.14610): a caption of COCO and one that is nearly true, in seven files. Paths start from
`data_root`."""

data_root = "data/sugarcrepe"

pipeline = [
    dict(type="LoadImage"),
    dict(type="PickHardNegatives"),
    dict(type="Resize", size=384),
    dict(type="PackSample"),
]
evaluations = dict(
    sugarcrepe=dict(
        dataset=dict(
            type="HardNegatives", layout="sugarcrepe", ann_file="*.json", image_root="val2017", pipeline=pipeline
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="HardNegativeMetric"),
        batch_size=32,
        num_workers=4,
    ),
)
