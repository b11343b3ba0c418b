"""Questions about toy scenes, answered in words: images and fusion start from the demo's model, texts from nothing.

python tools/train.py configs/demo/toy_pretrain.py --work-dir work_dirs/toy
python tools/train.py configs/demo/toy_answers.py --cfg-options load_from=work_dirs/toy/iter_1400.pth
"""

from mmengine.config import read_base

with read_base():
    from .toy_pretrain import *

tokenizer = dict(type="ToyTokenizer", tasks=True)
model.objectives.pop("mlm")
model.objectives.answer = dict(
    type="AnswerGeneration", decoder=dict(depth=1, num_heads=3, dropout=0.0, init_std=0.1, max_positions=8)
)
# Questions have words that captions lack, so the text encoder is a new one. It learns what words mean by pointing.
loading = dict(skip=("text_encoder",), allow_missing=("objectives.answer",))
region = streams.region
region.objectives = ("itc", "itm", "bbox")
region.collate.masking = None
region.batch_size = 32
region.max_images = 8  # records (images); batch_size counts pairs

world = dict(num_scenes=1_000_000, scale=1.3, max_overlap=0.05, objects=(2, 4))
streams = dict(
    question=dict(
        dataset=dict(
            type="ToyQuestions",
            world=world,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickQuestion"),
                dict(type="PickAnswers"),
                dict(type="PackSample", mean=middle, std=middle),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=32, masking=None),
        batch_size=64,
        objectives=("answer",),
        weight=3.0,
    ),
    region=region,
)
evaluations = dict(
    answers=dict(
        dataset=dict(
            type="ToyQuestions",
            world=dict(world, num_scenes=1024, split="test"),
            pipeline=[
                dict(type="LoadImage"),
                dict(type="PickQuestion"),
                dict(type="PickAnswers"),
                dict(type="PackSample", mean=middle, std=middle),
            ],
        ),
        collate=dict(type="PairCollate", max_tokens=32, masking=None),
        metric=dict(type="VQAMetric", mode="write", max_tokens=8, by=("question_type",)),
        batch_size=128,
    )
)
train_cfg.max_iters = train_cfg.val_interval = 1500
optim_wrapper.optimizer.lr = 1.5e-3
