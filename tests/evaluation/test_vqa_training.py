"""Training on questions about toy scenes gives correct answers on other scenes."""

import pytest
import torch

from x2vlm.building import build
from x2vlm.data.toy.tasks import ToyQuestions
from x2vlm.evaluation.tasks.vqa import VQAMetric
from x2vlm.registry import MODELS, TOKENIZERS, TRANSFORMS

STEPS, BATCH = 150, 32


@pytest.mark.slow
def test_colors_of_toy_objects_are_learned_ranked_and_generated(seed):
    tokenizer = build(TOKENIZERS, dict(type="ToyTokenizer", tasks=True), "tokenizer")
    collate = build(TRANSFORMS, dict(type="PairCollate", masking=None), "collate", tokenizer=tokenizer)
    pipeline = [dict(type=name) for name in ("LoadImage", "PickQuestion", "PickAnswers", "PackSample")]

    def questions(split, count):
        world = dict(num_scenes=count, split=split, objects=(1, 1), image_size=64, scale=1.3)
        data = ToyQuestions(world, ["color"], pipeline)
        return data, [collate([data[i] for i in range(n, n + BATCH)]) for n in range(0, count, BATCH)]

    layers = dict(num_heads=2, mlp_width=128, dropout=0.0, init_std=0.1)
    text = dict(
        model_type="bert",
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=64,
        initializer_range=0.1,
    )
    config = dict(
        type="X2VLM",
        vision_encoder=dict(
            type="TimmVisionEncoder",
            name="vit_tiny_patch16_224",
            image_size=64,
            sincos=True,
            options=dict(patch_size=16, embed_dim=64, depth=2, num_heads=2),
        ),
        text_encoder=dict(type="HFTextEncoder", config=text, dropout=0.0),
        fusion_encoder=dict(type="CrossAttentionFusion", depth=1, **layers),
        objectives=dict(
            answer=dict(type="AnswerGeneration", decoder=dict(depth=1, max_positions=12, **layers)),
        ),
        embed_dim=None,
    )
    model = build(MODELS, config, "model", tokenizer=tokenizer)
    (_, train), (data, test) = questions("train", STEPS * BATCH), questions("test", 4 * BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, STEPS, pct_start=0.1)
    for batch in train:
        optimizer.zero_grad()
        model(batch)["loss_answer"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    ranked = VQAMetric(tokenizer, data.answers).evaluate(model, test)
    generated = VQAMetric(tokenizer, mode="write").evaluate(model, test)
    assert ranked["majority_exact_match"] < 30
    assert ranked["exact_match"] > 90
    assert generated["exact_match"] > 90
