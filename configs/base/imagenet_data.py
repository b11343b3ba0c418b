"""ImageNet-1K: a folder of images for each of the 1000 classes. Paths start from `data_root`.

Published for X-FM: timm's training of images (random crops from 8 % on, RandAugment 9, erasing, mixup, CutMix, smoothed
labels) and its test (the middle 224 of 256 pixels), normalised as ImageNet is.
"""

data_root = "data/imagenet"
mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

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
                dict(type="RandomResizedCrop", size=224, scale=(0.08, 1.0)),
                dict(type="Flip"),
                dict(type="TimmAugment", policy="rand-m9-mstd0.5-inc1", size=224),
                dict(type="PackSample", mean=mean, std=std),
                dict(type="RandomErasing", prob=0.25, mode="pixel"),
            ],
        ),
        collate=dict(
            type="MixCollate", num_classes=1000, mixup=0.8, cutmix=1.0, prob=1.0, switch_prob=0.5, smoothing=0.1
        ),
        batch_size=128,  # records, of which all pairs are kept
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
                dict(type="CenterCrop", size=224),
                dict(type="PackSample", mean=mean, std=std),
            ],
        ),
        metric=dict(type="ClassificationMetric"),
        batch_size=64,
        num_workers=4,
    ),
)
keep_best = "val/accuracy"
