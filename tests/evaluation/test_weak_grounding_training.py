"""Grounding is learned without boxes: phrases are paired with whole toy scenes, and Grad-CAM finds their things."""

from dataclasses import replace

import pytest
import torch

from x2vlm.data.batch import Batch
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.data.toy.toy_tokenizer import toy_tokenizer
from x2vlm.data.toy.world import ToyWorld
from x2vlm.evaluation.tasks.gradcam_grounding import GradCamGroundingMetric
from x2vlm.models import X2VLM

MIDDLE = (0.5, 0.5, 0.5)


def scenes(split, num_scenes):
    """Two or three squares of four colours and two sizes, and a phrase for each."""
    pipeline = [
        dict(type="LoadImage"),
        dict(type="PickPhrases", kinds=("object",)),
        dict(type="PackSample", mean=MIDDLE, std=MIDDLE),
    ]
    world = dict(image_size=32, objects=(2, 3), colors=("red", "green", "blue", "yellow"), shapes=("square",))
    return ToyWorld(kind="region", split=split, num_scenes=num_scenes, pipeline=pipeline, **world)


def without_boxes(batch: Batch) -> Batch:
    """Every phrase with all of its image, as weak supervision has it."""
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(len(batch), 4)
    return replace(batch, boxes_xyxy=whole, has_box=torch.zeros(len(batch), dtype=torch.bool))


@pytest.fixture
def model(seed):
    tokenizer = toy_tokenizer()
    sizes = dict(hidden_size=48, num_hidden_layers=1, num_attention_heads=2, intermediate_size=96)
    return X2VLM(
        vision_encoder=dict(
            type="TimmVisionEncoder",
            name="vit_tiny_patch16_224",
            image_size=32,
            options=dict(patch_size=4, embed_dim=48, depth=2, num_heads=2),
        ),
        text_encoder=dict(
            type="HFTextEncoder",
            dropout=0.0,
            config=dict(model_type="bert", max_position_embeddings=16, initializer_range=0.15, **sizes),
        ),
        fusion_encoder=dict(type="CrossAttentionFusion", depth=2, num_heads=2, dropout=0.0, init_std=0.15),
        objectives=dict(
            itc=dict(type="ITC", positives="ids_and_texts"), itm=dict(type="ITM", positives="ids_and_texts")
        ),
        embed_dim=32,
        tokenizer=tokenizer,
    )


@pytest.mark.slow
def test_grad_cam_of_a_model_that_saw_no_box_finds_things_better_than_chance(model):
    collate = PairCollate(model.tokenizer, max_tokens=12, masking=None)
    train, test = scenes("train", 3000), scenes("test", 100)
    batches = [collate([test[i] for i in range(start, start + 50)]) for start in (0, 50)]
    metric = GradCamGroundingMetric()
    before = metric.evaluate(model, batches)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(250):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, step / 25) * (1 - step / 250)
        batch = without_boxes(collate([train[12 * step + i] for i in range(12)]))
        optimizer.zero_grad()
        sum(model(batch).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    after = metric.evaluate(model, batches)
    assert 35 < after["chance_accuracy"] < 45
    assert abs(before["accuracy_at_0.5"] - before["chance_accuracy"]) < 15
    assert after["accuracy_at_0.5"] > after["chance_accuracy"] + 5  # 49.8 and 40.2 where this was written
