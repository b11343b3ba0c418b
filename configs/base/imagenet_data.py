"""ImageNet-1K: a folder of images for each of the 1000 classes. Paths start from `data_root`."""

data_root = "data/imagenet"

loading = dict(allow_missing=("objectives.classification",))
objectives = dict(classification=dict(type="Classification", num_classes=1000, reads="context"))
streams = dict(
    image=dict(
        dataset=dict(
            type="ImageFolder",
            root="train",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickLabel"),
                dict(type="RandomResizedCrop", size=224, scale=(0.2, 1.0)),
                dict(type="Flip"),
                dict(type="RandAugment"),
                dict(type="PackSample"),
            ],
        ),
        batch_size=64,  # records, of which all pairs are kept
        objectives=("classification",),
        num_workers=4,
    ),
)
evaluations = dict(
    val=dict(
        dataset=dict(
            type="ImageFolder",
            root="val",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickLabel"),
                dict(type="Resize", size=224),
                dict(type="PackSample"),
            ],
        ),
        metric=dict(type="ClassificationMetric"),
        batch_size=64,
        num_workers=4,
    ),
)
