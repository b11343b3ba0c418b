"""Is the sentence true of the two toy images? Images and fusion start from the demo's model, texts from nothing.

python tools/train.py configs/demo/toy_pretrain.py --work-dir work_dirs/toy
python tools/train.py configs/demo/toy_pairs.py --cfg-options load_from=work_dirs/toy/iter_1400.pth
"""

from mmengine.config import read_base

with read_base():
    from .toy_pretrain import *

tokenizer = dict(type="ToyTokenizer", tasks=True)
model.objectives.pop("mlm")
model.objectives.classification = dict(type="Classification", num_classes=2, contexts=2)
# Sentences have words that captions lack, so the text encoder is a new one. It learns what words mean by pointing.
loading = dict(skip=("text_encoder",), allow_missing=("objectives.classification",))
region = streams.region
region.objectives = ("itc", "itm", "bbox")
region.collate.masking = None
region.batch_size = 32
region.max_images = 8  # records (images); batch_size counts pairs

world = dict(num_scenes=1_000_000, scale=1.3, max_overlap=0.05, objects=(1, 3))
pipeline = [
    dict(type="LoadImage"),
    dict(type="PickCaption"),
    dict(type="PickLabel"),
    dict(type="PackSample", mean=middle, std=middle),
]
collate = dict(type="PairCollate", max_tokens=32, masking=None)
streams = dict(
    pair=dict(
        dataset=dict(type="ToyPairs", world=world, pipeline=pipeline),
        collate=collate,
        batch_size=48,
        objectives=("classification",),
        weight=3.0,
    ),
    region=region,
)
evaluations = dict(
    pairs=dict(
        dataset=dict(type="ToyPairs", world=dict(world, num_scenes=1024, split="test"), pipeline=pipeline),
        collate=collate,
        metric=dict(type="ClassificationMetric"),
        batch_size=128,
    )
)
train_cfg.max_iters = train_cfg.val_interval = 700
optim_wrapper.optimizer.lr = 1.5e-3
