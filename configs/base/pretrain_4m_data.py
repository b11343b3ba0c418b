"""The data of the 4M runs as JSON lines: images with captions, and images with regions. Paths start from `data_root`.

The augmentation, the masking and the numbers are the published ones; so is what they do to captions that tell left from
right (`careful=False`) and to batches with too few regions (`fill="copy"`).

Raw files: `KarpathySplit`, `VisualGenome`, `WebCaptions` (SBU, CC3M).
"""

data_root = "data/pretrain"
masking = dict(prob=0.5, max_masks=12, whole_word=True, span_prob=0.2, max_span=3)

streams = dict(
    image=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="images/*.jsonl",
            image_root=".",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickCaption", max_words=40),
                dict(type="RandomResizedCrop", size=224, scale=(0.2, 1.0)),
                dict(type="Flip", careful=False),
                dict(type="RandAugment"),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=masking),
        batch_size=128,  # records, of which all pairs are kept
        objectives=("itc", "itm", "mlm"),
        num_workers=4,
    ),
    region=dict(
        dataset=dict(
            type="JsonLines",
            ann_file="regions/*.jsonl",
            image_root=".",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickRegions", max_regions=5, max_words=40),
                dict(type="Flip", careful=False),
                dict(type="Resize", size=224),
                dict(type="RandAugment", ops="colour"),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=masking, fill="copy"),
        batch_size=128,  # pairs: so many of the regions of these images are kept, at random
        max_images=50,  # records (images) read for a batch
        objectives=("itc", "itm", "mlm", "bbox"),
        num_workers=4,
    ),
)
