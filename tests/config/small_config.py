"""Small registered parts, a config of them, and the problems of a config as lists of sentences."""

import pytest

from x2vlm import registry as families
from x2vlm.building import ConfigError
from x2vlm.config import load_config


class SmallModel:
    def __init__(self, vision_encoder, objectives, embed_dim=8, num_frames=0, tokenizer=None):
        raise AssertionError("reading a config must not build its model")


class SmallVision:
    def __init__(self, image_size=32, depth=2): ...


class SmallGoal:
    def __init__(self, width, weight=1.0): ...


class SmallData:
    def __init__(self, ann_file, pipeline=(), reader=None):
        raise AssertionError("reading a config must not open its data")


class SmallToys:
    def __init__(self, image_size=48, num_frames=8, pipeline=()): ...


class SmallResize:
    def __init__(self, size): ...


class SmallFrames:
    def __init__(self, num_frames=3): ...


class SmallFlip:
    def __init__(self, prob=0.5): ...


class SmallMetric:
    def __init__(self, k=1): ...


class SmallLoop:
    def __init__(self, runner, dataloader, max_iters): ...


class SmallReader: ...


def small_tokenizer(words=10): ...


PARTS = {
    families.MODELS: [SmallModel],
    families.VISION_ENCODERS: [SmallVision],
    families.OBJECTIVES: [SmallGoal],
    families.DATASETS: [SmallData, SmallToys],
    families.TRANSFORMS: [SmallResize, SmallFlip, SmallFrames],
    families.METRICS: [SmallMetric],
    families.LOOPS: [SmallLoop],
    families.VIDEO_READERS: [SmallReader],
    families.TOKENIZERS: [small_tokenizer],
}


BASE = """
size = 32
tokenizer = dict(type="small_tokenizer")
model = dict(
    type="SmallModel",
    vision_encoder=dict(type="SmallVision", image_size=size),
    objectives=dict(itc=dict(type="SmallGoal"), bbox=dict(type="SmallGoal", weight=2.0)),
)
pipeline = [dict(type="SmallFlip"), dict(type="SmallResize", size=size)]
streams = dict(
    image=dict(dataset=dict(type="SmallData", ann_file="x", pipeline=pipeline), batch_size=4, objectives=("itc",)),
    region=dict(
        dataset=dict(type="SmallData", ann_file="x", pipeline=pipeline),
        batch_size=4,
        max_images=2,
        objectives=("itc", "bbox"),
    ),
)
evaluations = dict(
    finding=dict(
        dataset=dict(type="SmallData", ann_file="x", pipeline=pipeline), batch_size=4, metric=dict(type="SmallMetric")
    )
)
train_cfg = dict(type="SmallLoop", max_iters=10)
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=1e-4), constructor="X2VLMOptimConstructor")
param_scheduler = [dict(type="LinearLR", start_factor=0.1, end=5), dict(type="WarmupLinear", warmup=0.1)]
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=5), timer=None)
randomness = dict(seed=3)
"""


CHILD = "from mmengine.config import read_base\n\nwith read_base():\n    from .base import *\n\n"


def problems(path, overrides=None):
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value).splitlines()


def problem(path, overrides=None):
    """The only problem."""
    found = problems(path, overrides)
    assert found[0] == f"{path}: 1 problem" and len(found) == 2, found
    return found[1].strip()


def option(write, key, value):
    return problem(write(), {key: value}).removeprefix("--cfg-options ")
