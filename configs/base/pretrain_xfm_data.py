"""The data of X-FM: images with captions, regions, plain text, and ImageNet. Paths start from `data_root`.

A process has 96 images with captions, 96 regions of 80 images, 96 images without text and 256 texts a step; the release
does not name its plain text. Weights of the losses of a stream go
into `objectives`; boxes are never weighted: streams.region.objectives = dict(itc=0.5, itm=0.5, mlm=0.5, bbox=1).

Raw files in place of these, by data set (docs/public_data.md):

    streams.image*.datasets.0: KarpathySplit(ann_file="dataset_coco.json", image_root=".", split=["train", "restval"],
        captions_apart=True)
    streams.image*.datasets.1: VisualGenome(image_data="image_data.json", image_root=".",
        regions="region_descriptions.json", pipeline=[dict(type="RegionsAsCaptions")])
    streams.image*.datasets.2: WebCaptions(ann_file="sbu-captions-all.json", downloads="sbu", names="url",
        file_pattern="{}")
    streams.image*.datasets.3: WebCaptions(ann_file="Train_GCC-training.tsv", downloads="cc3m")
    streams.region.datasets.0: Coco(image_root="train2014", instances_file="annotations/instances_train2014.json")
    streams.region.datasets.1: VisualGenome(image_data="image_data.json", image_root=".", attributes="attributes.json")
    streams.region.datasets.2: VisualGenome(image_data="image_data.json", image_root=".",
        regions="region_descriptions.json")
    streams.region.datasets.3: RefCoco(refs_file="refcoco+/refs(unc).p", instances_file="refcoco+/instances.json",
        image_root="train2014")
    streams.region.datasets.4: GqaSceneGraphs(graphs_file="train_sceneGraphs.json", image_root="images")
    streams.region.datasets.5: Flickr30kEntities(root="flickr30k_entities", image_root="flickr30k-images",
        split_file="train.txt")
    streams.text: WikipediaText(files="wikipedia/train-*.parquet", shuffle_buffer=10_000)
"""

data_root = "data/pretrain"
masking = dict(prob=0.5, max_masks=15, whole_word=False, span_prob=0.2, max_span=3)

streams = dict(
    text=dict(
        dataset=dict(
            type="PlainText",
            files="text/*.jsonl",
            key="text",
            pipeline=[dict(type="PickText"), dict(type="PackSample")],
        ),
        collate=dict(
            type="PairCollate",
            max_tokens=128,
            masking=dict(prob=0.15, max_masks=20, whole_word=False, span_prob=0.2, max_span=3),
        ),
        batch_size=256,  # records, of which all pairs are kept
        objectives=("text_mlm",),
        num_workers=4,
    ),
    region=dict(
        dataset=dict(
            type="Concat",
            names=("coco_objects", "vg_objects", "vg_regions", "refcoco", "gqa", "flickr_entities"),
            images=(110_000, 100_000, 100_000, None, None, None),
            times=(1, 1, 1, 1, 1, 1),
            datasets=[
                dict(type="LinesOrShards", ann_file="regions/coco_objects/*.jsonl", image_root=".", kind="object"),
                dict(type="LinesOrShards", ann_file="regions/vg_objects/*.jsonl", image_root=".", kind="object"),
                dict(type="LinesOrShards", ann_file="regions/vg_regions/*.jsonl", image_root=".", kind="region"),
                dict(type="LinesOrShards", ann_file="regions/refcoco/*.jsonl", image_root=".", kind="region"),
                dict(type="LinesOrShards", ann_file="regions/gqa/*.jsonl", image_root=".", kind="object"),
                dict(type="LinesOrShards", ann_file="regions/flickr_entities/*.jsonl", image_root=".", kind="object"),
            ],
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickRegions", max_regions=5, max_words=30),
                dict(type="Flip", careful=False),
                dict(type="Resize", size=224),
                dict(type="RandAugment", ops="colour"),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=30, masking=masking, fill="copy"),
        batch_size=96,  # pairs: so many of the regions of these images are kept, at random
        max_images=80,  # records (images) read for a batch
        objectives=("itc", "itm", "mlm", "bbox"),
        num_workers=4,
    ),
    imagenet=dict(
        dataset=dict(
            type="ImageFolder",
            root="imagenet/train",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="RandomResizedCrop", size=224, scale=(0.2, 1.0)),
                dict(type="Flip", careful=False),
                dict(type="RandAugment"),
                dict(type="MaskPatches", grid=14, num_masked=75, min_block=16, aspect=(0.3, 1 / 0.3)),
                dict(type="PackSample"),
            ],
        ),
        batch_size=96,  # records, of which all pairs are kept
        objectives=("mim",),
        num_workers=4,
    ),
    image=dict(
        dataset=dict(
            type="Concat",
            names=("coco", "vg", "sbu", "cc3m"),
            images=(110_000, 100_000, 860_000, 2_900_000),
            times=(1, 1, 1, 1),
            datasets=[
                dict(type="LinesOrShards", ann_file="images/coco/*.jsonl", image_root="."),
                dict(type="LinesOrShards", ann_file="images/vg/*.jsonl", image_root="."),
                dict(type="LinesOrShards", ann_file="images/sbu/*.jsonl", image_root="."),
                dict(type="LinesOrShards", ann_file="images/cc3m/*.jsonl", image_root="."),
            ],
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickCaption", max_words=30),
                dict(type="RandomResizedCrop", size=224, scale=(0.2, 1.0)),
                dict(type="Flip", careful=False),
                dict(type="RandAugment"),
                dict(type="MaskPatches", grid=14, num_masked=75, min_block=16, aspect=(0.3, 1 / 0.3)),
                dict(type="PackSample"),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=30, masking=masking),
        batch_size=96,  # records, of which all pairs are kept
        objectives=("itc", "itm", "mlm", "mim"),
        num_workers=4,
    ),
)
