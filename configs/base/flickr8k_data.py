"""Flickr8k in tar shards: captions, and phrases with their boxes (Flickr30k Entities). Paths start from `data_root`.

Raw files in place of these, by data set (docs/public_data.md):

    streams.image: KarpathySplit(ann_file="dataset_flickr8k.json", image_root="Flicker8k_Dataset", captions_apart=True)
    *.retrieval: KarpathySplit(ann_file="dataset_flickr8k.json", image_root="Flicker8k_Dataset", split="val")
    streams.region: Flickr30kEntities(root="flickr30k_entities", image_root="flickr30k-images", split_file="train.txt")
    *.grounding: Flickr30kEntities(root="flickr30k_entities", image_root="flickr30k-images", split_file="val.txt")
"""

data_root = "data/flickr8k"

streams = dict(
    image=dict(
        dataset=dict(
            type="TarShards",
            ann_file="flickr8k_train.jsonl",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickCaption", max_words=30),
                dict(type="RandomResizedCrop", size=224, scale=(0.5, 1.0)),
                dict(type="Flip"),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=dict(prob=0.3, max_masks=10)),
        batch_size=32,  # records, of which all pairs are kept
        objectives=("itc", "itm", "mlm"),
    ),
    region=dict(
        dataset=dict(
            type="TarShards",
            ann_file="flickr8k_train.jsonl",
            unique_phrases=True,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickRegions", max_regions=4),
                dict(type="Flip"),
                dict(type="Resize", size=224),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=dict(prob=0.3, max_masks=10)),
        batch_size=32,  # pairs: so many of the regions of these images are kept, at random
        max_images=12,  # records (images) read for a batch
        objectives=("itc", "itm", "mlm", "bbox"),
    ),
)

evaluations = dict(
    retrieval=dict(
        dataset=dict(
            type="TarShards",
            ann_file="flickr8k_val.jsonl",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="AllCaptions", max_words=30),
                dict(type="Resize", size=224),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="RetrievalMetric", k=32),
        batch_size=32,
    ),
    grounding=dict(
        dataset=dict(
            type="TarShards",
            ann_file="flickr8k_val.jsonl",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickPhrases"),
                dict(type="Resize", size=224),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="GroundingMetric"),
        batch_size=32,
    ),
)
