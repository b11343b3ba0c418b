"""GLUE's MNLI as the pattern of all its tasks: TSV tables, two sentences read as one. Paths start from `data_root`.

GLUE's own tests have no labels: the development set says which epoch is best, as published.
"""

data_root = "data/glue"

loading = dict(allow_missing=("objectives.classification",))
objectives = dict(classification=dict(type="Classification", num_classes=3, reads="text"))
columns = dict(text="sentence1", text_pair="sentence2", label="gold_label")
pipeline = [
    dict(type="PickText", clean=False),
    dict(type="PickLabel", classes=("entailment", "neutral", "contradiction")),
    dict(type="PackSample"),
]
streams = dict(
    text=dict(
        dataset=dict(type="Table", ann_file="MNLI/train.tsv", columns=columns, pipeline=pipeline),
        collate=dict(type="PairCollate", max_tokens=128, masking=None),
        batch_size=32,  # records, of which all pairs are kept
        objectives=("classification",),
        num_workers=2,
    ),
)
evaluations = dict(
    dev=dict(
        dataset=dict(type="Table", ann_file="MNLI/dev_matched.tsv", columns=columns, pipeline=pipeline),
        collate=dict(type="PairCollate", max_tokens=128, masking=None),
        metric=dict(type="ClassificationMetric", at=(1,)),
        batch_size=64,
        num_workers=2,
    ),
)
keep_best = "dev/accuracy"
