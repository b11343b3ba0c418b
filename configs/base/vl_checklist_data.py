"""VL-CheckList (arXiv:2207.00221): objects, attributes and relations, in its own files. Paths start from `data_root`.

`images` holds the folders `vg`, `swig` and `hake`; the paths in the files start in one of them.
"""

data_root = "data/vl_checklist"

pipeline = [
    dict(type="LoadImage"),
    dict(type="PickHardNegatives"),
    dict(type="Resize", size=384),
    dict(type="PackSample"),
]
evaluations = dict(
    attribute_vg=dict(
        dataset=dict(
            type="HardNegatives",
            layout="vl_checklist",
            ann_file="data/Attribute/*/*.json",
            image_root="images/vg",
            pipeline=pipeline,
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="HardNegativeMetric", by=("category", "part")),
        batch_size=32,
        num_workers=4,
    ),
    relation_vg=dict(
        dataset=dict(
            type="HardNegatives",
            layout="vl_checklist",
            ann_file="data/Relation/vg/*.json",
            image_root="images/vg",
            pipeline=pipeline,
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="HardNegativeMetric", by=("category", "part")),
        batch_size=32,
        num_workers=4,
    ),
    relation_swig=dict(
        dataset=dict(
            type="HardNegatives",
            layout="vl_checklist",
            ann_file="data/Relation/swig_action.json",
            image_root="images/swig",
            pipeline=pipeline,
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="HardNegativeMetric", by=("category", "part")),
        batch_size=32,
        num_workers=4,
    ),
    object_vg=dict(
        dataset=dict(
            type="HardNegatives",
            layout="vl_checklist",
            ann_file="data/Object/*/vg_*/*.json",
            image_root="images/vg",
            pipeline=pipeline,
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="HardNegativeMetric", by=("category", "part")),
        batch_size=32,
        num_workers=4,
    ),
    object_swig=dict(
        dataset=dict(
            type="HardNegatives",
            layout="vl_checklist",
            ann_file="data/Object/*/swig_*/*/*.json",
            image_root="images/swig",
            pipeline=pipeline,
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="HardNegativeMetric", by=("category", "part")),
        batch_size=32,
        num_workers=4,
    ),
    object_hake=dict(
        dataset=dict(
            type="HardNegatives",
            layout="vl_checklist",
            ann_file="data/Object/*/hake_*/*.json",
            image_root="images/hake",
            pipeline=pipeline,
        ),
        collate=dict(type="PairCollate", max_tokens=40, masking=None),
        metric=dict(type="HardNegativeMetric", by=("category", "part")),
        batch_size=32,
        num_workers=4,
    ),
)
