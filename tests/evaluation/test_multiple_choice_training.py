"""Multiple choice is learned on clips, with each way to make one image of their frames, far above chance."""

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest

from x2vlm.config import load_config
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.toy.drawn_shapes import COLORS
from x2vlm.engine.runner_builder import build_runner
from x2vlm.registry import DATASETS

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(COLORS)[:5]


@DATASETS.register_module(force=True)
class ColouredClips(Adapter):
    """Clips of three frames, one of them of a colour; which of five colours is it?"""

    def __init__(self, size, seed, pipeline=()) -> None:
        super().__init__(pipeline)
        self.size, self.seed = size, seed

    def __len__(self):
        return self.size

    def record(self, index):
        random = Random(f"{self.seed} {index}")
        right, choices = random.choice(NAMES), random.sample(NAMES, 5)
        frames = np.full((3, 32, 32, 3), 128, np.uint8)
        frames[random.randrange(3)] = COLORS[right]
        where = f"clip {index}"
        return dict(where=where, video=list(frames), question="what", choices=choices, label=choices.index(right))


def config(scoring, temporal, work_dir):
    cfg = load_config(ROOT / "configs" / "demo" / "toy_pretrain.py")
    cfg.model.vision_encoder.update(image_size=32, options=dict(patch_size=16, embed_dim=96, depth=1, num_heads=3))
    cfg.model.update(embed_dim=None, temporal_encoder=temporal)
    cfg.model.objectives = dict(multiple_choice=dict(type="MultipleChoice", scoring=scoring))
    made = [
        dict(type="SampleFrames", num_frames=3, training=False),
        dict(type="PickChoices"),
        dict(type="PackSample", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    ]
    common = dict(collate=dict(type="PairCollate", max_tokens=8, masking=None), batch_size=16, num_workers=0)
    clips = dict(type="ColouredClips", pipeline=made)
    cfg.streams = dict(video=dict(dataset=dict(clips, size=4000, seed=0), objectives=("multiple_choice",), **common))
    metric = dict(type="MultipleChoiceMetric", by=None)
    cfg.evaluations = dict(val=dict(dataset=dict(clips, size=100, seed=1), metric=metric, **common))
    cfg.train_cfg = dict(type="MixedTrainLoop", max_iters=150, val_interval=150)
    cfg.param_scheduler.warmup = 20
    cfg.default_hooks.checkpoint.interval = 150
    cfg.visualizer, cfg.work_dir = None, str(work_dir)
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scoring", "temporal"),
    [
        ("rank", dict(type="MeanOfFrames", positions=False)),
        ("match", dict(type="MeanOfFrames")),
        ("rank", dict(type="ConcatOfFrames")),
        ("rank", dict(type="AttentionOverFrames")),
    ],
)
def test_multiple_choice_is_learned_far_above_chance(scoring, temporal, tmp_path):
    build_runner(config(scoring, temporal, tmp_path)).train()
    last = json.loads(next(tmp_path.rglob("metrics.jsonl")).read_text().splitlines()[-1])
    assert last["metrics"]["val/chance_accuracy"] == 20
    assert last["metrics"]["val/accuracy"] > 60
