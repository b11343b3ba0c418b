"""Toy scenes captioned word by word: the demo's model goes on as a writer.

python tools/train.py configs/demo/toy_pretrain.py --work-dir work_dirs/toy
python tools/train.py configs/demo/toy_captions.py --cfg-options load_from=work_dirs/toy/iter_1400.pth
"""

from mmengine.config import read_base

with read_base():
    from .toy_pretrain import *

model.embed_dim = None
model.objectives = dict(caption=dict(type="CaptionGeneration", prompt=""))

# Things are named from left to right and nothing else is said: every scene has one right caption.
world = dict(
    type="ToyWorld", kind="image", captions="ordered", num_scenes=1_000_000, objects=(1, 3), scale=1.3, max_overlap=0.05
)
pipeline = [
    dict(type="LoadImage"),
    dict(type="PickCaption", clean=False),
    dict(type="PackSample", mean=middle, std=middle),
]
collate = dict(type="CaptionCollate", prompt="", max_tokens=32, masking=dict(prob=0.6, max_masks=18))
streams = dict(
    caption=dict(
        dataset=dict(world, pipeline=pipeline),
        collate=collate,
        batch_size=64,
        objectives=("caption",),
    )
)
evaluations = dict(
    captions=dict(
        dataset=dict(world, num_scenes=256, split="test", pipeline=pipeline),
        collate=dict(type="PairCollate", max_tokens=32, masking=None),
        metric=dict(type="CaptioningMetric", search=dict(beams=3, min_length=3, max_length=30)),
        batch_size=64,
    )
)
train_cfg.max_iters = train_cfg.val_interval = 1000
optim_wrapper.optimizer.lr = 1e-3
