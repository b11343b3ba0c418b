"""The raw sets of the 4M list as they are downloaded, for `x2vlm build-pretraining-set`, and the test sets held out.

The published numbers are those of arXiv:2211.12402v1, Table 1, which are rounded and count boxes after a filter that is
not published. Paths start from `data_root`; a set that lies elsewhere has an absolute path:
`--cfg-options raw_sets.sbu.dataset.downloads=/mnt/sbu.tar`. A set that is not to be had is named by `--without`.

`named_by` says who numbers the images, so that one photograph is found under all its names: Visual Genome has COCO's
number of many of its images, and COCO, Visual Genome and the lists of the web have Flickr's.
"""

data_root = "raw"

raw_sets = dict(
    coco=dict(
        out="images/coco",
        dataset=dict(
            type="KarpathySplit",
            ann_file="coco/dataset_coco.json",
            image_root="coco",
            split=("train", "restval"),
        ),
        named_by="coco",
        published=dict(images=110_000, captions=550_000),
    ),
    # The release has captions of Visual Genome that Table 1 does not count: sentences of regions, without repetition.
    vg=dict(
        out="images/vg",
        dataset=dict(
            type="VisualGenome",
            image_data="vg/image_data.json",
            image_root="vg",
            regions="vg/region_descriptions.json",
            pipeline=[dict(type="RegionsAsCaptions")],
        ),
        named_by="vg",
        published=dict(images=100_000),
    ),
    sbu=dict(
        out="images/sbu",
        dataset=dict(
            type="WebCaptions", ann_file="sbu/sbu-captions-all.json", downloads="sbu/images", file_pattern="{:09d}.jpg"
        ),
        named_by="web",
        published=dict(images=860_000, captions=860_000),
    ),
    cc3m=dict(
        out="images/cc3m",
        dataset=dict(
            type="WebCaptions",
            ann_file="cc3m/Train_GCC-training.tsv",
            downloads="cc3m/images",
            file_pattern="{:09d}.jpg",
        ),
        named_by="web",
        published=dict(images=2_900_000, captions=2_900_000),
    ),
    coco_objects=dict(
        out="regions/coco_objects",
        dataset=dict(
            type="Coco",
            image_root="coco/train2017",
            instances_file="coco/annotations/instances_train2017.json",
            require=("boxes",),
        ),
        named_by="coco",
        published=dict(images=110_000, objects=450_000),
    ),
    vg_objects=dict(
        out="regions/vg_objects",
        dataset=dict(
            type="VisualGenome", image_data="vg/image_data.json", image_root="vg", attributes="vg/attributes.json"
        ),
        named_by="vg",
        published=dict(images=100_000, objects=2_000_000),
    ),
    vg_regions=dict(
        out="regions/vg_regions",
        dataset=dict(
            type="VisualGenome", image_data="vg/image_data.json", image_root="vg", regions="vg/region_descriptions.json"
        ),
        named_by="vg",
        published=dict(images=100_000, regions=3_700_000),
    ),
    refcoco=dict(
        out="regions/refcoco",
        dataset=dict(
            type="Concat",
            names=("refcoco", "refcoco+", "refcocog"),
            join_ids=True,
            datasets=[
                dict(
                    type="RefCoco",
                    refs_file="refer/refcoco/refs(unc).p",
                    instances_file="refer/refcoco/instances.json",
                    image_root="coco/train2014",
                    expressions_apart=False,
                ),
                dict(
                    type="RefCoco",
                    refs_file="refer/refcoco+/refs(unc).p",
                    instances_file="refer/refcoco+/instances.json",
                    image_root="coco/train2014",
                    expressions_apart=False,
                ),
                dict(
                    type="RefCoco",
                    refs_file="refer/refcocog/refs(umd).p",
                    instances_file="refer/refcocog/instances.json",
                    image_root="coco/train2014",
                    expressions_apart=False,
                ),
            ],
        ),
        named_by="coco",
    ),
    gqa=dict(
        out="regions/gqa",
        dataset=dict(type="GqaSceneGraphs", graphs_file="gqa/train_sceneGraphs.json", image_root="gqa/images"),
        named_by="vg",
    ),
    flickr_entities=dict(
        out="regions/flickr_entities",
        dataset=dict(
            type="Flickr30kEntities",
            root="flickr30k/entities",
            image_root="flickr30k/images",
            split_file="flickr30k/entities/train.txt",
        ),
        named_by="flickr",
    ),
)

held_out_sets = dict(
    coco=dict(
        dataset=dict(type="KarpathySplit", ann_file="coco/dataset_coco.json", image_root="coco", split=("val", "test")),
        named_by="coco",
    ),
    flickr30k=dict(
        dataset=dict(
            type="KarpathySplit",
            ann_file="flickr30k/dataset_flickr30k.json",
            image_root="flickr30k/images",
            split=("val", "test"),
        ),
        named_by="flickr",
    ),
    refcoco=dict(
        dataset=dict(
            type="Concat",
            join_ids=True,
            datasets=[
                dict(
                    type="RefCoco",
                    refs_file=f"refer/{name}/refs({maker}).p",
                    instances_file=f"refer/{name}/instances.json",
                    image_root="coco/train2014",
                    split=split,
                    expressions_apart=False,
                )
                for name, maker, splits in (
                    ("refcoco", "unc", ("val", "testA", "testB")),
                    ("refcoco+", "unc", ("val", "testA", "testB")),
                    ("refcocog", "umd", ("val", "test")),
                )
                for split in splits
            ],
        ),
        named_by="coco",
    ),
    vqa=dict(dataset=dict(type="ImageFolder", root="coco/test2015", labels=False), named_by="coco"),
    nlvr2_dev=dict(dataset=dict(type="Nlvr2", ann_file="nlvr2/dev.json", image_root="nlvr2/dev")),
    nlvr2_test=dict(dataset=dict(type="Nlvr2", ann_file="nlvr2/test1.json", image_root="nlvr2/test1")),
    gqa=dict(
        dataset=dict(
            type="GqaQuestions", questions_file="gqa/testdev_balanced_questions.json", image_root="gqa/images"
        ),
        named_by="vg",
    ),
    ovad=dict(
        dataset=dict(type="Coco", image_root="coco/val2017", instances_file="ovad/ovad2000.json"), named_by="coco"
    ),
    winoground=dict(dataset=dict(type="ImageFolder", root="winoground/images", labels=False)),
)

same_images = dict(
    vg="vg/image_data.json",
    coco=("coco/annotations/captions_train2014.json", "coco/annotations/captions_val2014.json"),
)
