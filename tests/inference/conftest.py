"""A config of a tiny model over the toy world, and a checkpoint of the untrained model."""

import pytest
import torch
from mmengine.config import Config

SIDE = 16


@pytest.fixture
def cfg():
    """Images, regions and clips of 16 pixels, and a tiny model for them."""
    load = [dict(type="LoadImage")]
    pack = [dict(type="Resize", size=SIDE), dict(type="PackSample")]
    collate = dict(type="PairCollate", masking=None)

    def evaluation(kind, pipeline, metric):
        dataset = dict(type="ToyWorld", kind=kind, num_scenes=6, split="test", image_size=64, pipeline=pipeline)
        return dict(dataset=dataset, collate=collate, batch_size=4, metric=metric)

    frames = [dict(type="SampleFrames", num_frames=2, training=False)]
    retrieval = dict(type="RetrievalMetric", k=4)
    return Config(
        dict(
            default_scope="x2vlm",
            tokenizer=dict(type="ToyTokenizer"),
            model=dict(
                type="X2VLM",
                vision_encoder=dict(
                    type="TimmVisionEncoder",
                    name="vit_tiny_patch16_224",
                    image_size=SIDE,
                    options=dict(patch_size=8, embed_dim=8, depth=1, num_heads=2),
                ),
                text_encoder=dict(
                    type="HFTextEncoder",
                    config=dict(
                        model_type="bert",
                        hidden_size=8,
                        num_hidden_layers=1,
                        num_attention_heads=2,
                        intermediate_size=8,
                    ),
                ),
                fusion_encoder=dict(type="CrossAttentionFusion", depth=1, num_heads=2, mlp_width=8),
                objectives=dict(
                    itc=dict(type="ITC"), itm=dict(type="ITM"), mlm=dict(type="MLM"), bbox=dict(type="BBox")
                ),
                embed_dim=4,
                num_frames=2,
            ),
            evaluations=dict(
                grounding=evaluation("region", [*load, dict(type="PickPhrases"), *pack], dict(type="GroundingMetric")),
                image_retrieval=evaluation("image", [*load, dict(type="AllCaptions"), *pack], retrieval),
                video_retrieval=evaluation("video", [*frames, dict(type="AllCaptions"), *pack], retrieval),
            ),
        )
    )


@pytest.fixture
def checkpoint(cfg, tmp_path, seed):
    """The weights of the untrained model, enlarged so that predictions differ."""
    from x2vlm.building import build
    from x2vlm.registry import MODELS, TOKENIZERS

    model = build(MODELS, cfg.model, "model", tokenizer=build(TOKENIZERS, cfg.tokenizer, "tokenizer"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    path = tmp_path / "iter_1.pth"
    torch.save({"state_dict": model.state_dict()}, path)
    return path
