"""Shapes that follow from configs."""

from x2vlm.config import load_config
from x2vlm.planning.config_shapes import batch_shapes, model_shape, passes_by_turn, stream_shares
from x2vlm.planning.model_shapes import BatchShape, TextShape, VisionShape, parameters


def test_streams_are_read_as_the_config_has_them(pretrain):
    batches = batch_shapes(pretrain("x2vlm_base_1b_stage2"))
    assert batches["image"] == BatchShape(64, 64, 1, 40, 12, ("itc", "itm", "mlm"))
    assert batches["region"] == BatchShape(64, 26, 1, 40, 12, ("itc", "itm", "mlm", "bbox"))
    assert batches["video"] == BatchShape(40, 40, 3, 40, 12, ("itc", "itm", "mlm"), share=0.65)
    parallel = batch_shapes(pretrain("cclm_base"))["parallel"]
    assert parallel == BatchShape(60, 60, 0, 64, 16, ("itc", "itm", "mlm"), sentences=True)


def test_a_models_shape_follows_from_the_config(pretrain):
    shape = model_shape(pretrain("x2vlm_large_4m"))
    assert shape.vision == VisionShape(1024, 24, 16, 14, 14, 16)
    assert shape.text == TextShape(1024, 12, 16, 4096, 30522, 512, 2)
    assert (shape.fusion.depth, shape.fusion.context_width, shape.dropout) == (6, 1024, True)
    multilingual = model_shape(pretrain("cclm_base"))
    assert (multilingual.text.vocab_size, multilingual.tied) == (250002, False)


def test_the_config_of_the_formulas_is_the_model_that_is_built(root):
    """The same config, built: a small one, with fresh weights."""
    from x2vlm.building import build
    from x2vlm.registry import MODELS

    cfg = load_config(root / "configs" / "pretrain" / "x2vlm_large_4m.py")
    cfg.model.vision_encoder |= dict(width=64, depth=2, image_size=64)
    small = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, vocab_size=99)
    cfg.model.text_encoder.config |= small
    model = build(MODELS, cfg.model, "model")
    assert sum(parameters(model_shape(cfg)).values()) == sum(p.numel() for p in model.parameters())


def test_passes_follow_from_the_config():
    names = ["image", "video", "region"]
    assert passes_by_turn(names, {}) == [(1.0, [["video"], ["image", "region"]])]
    assert passes_by_turn(names, {"passes": "by_stream"}) == [(1.0, [["image"], ["video"], ["region"]])]
    turns = {"a": {"share": 0.25, "streams": ("image",)}, "b": {"share": 0.75}}
    train = {"plan": {"turns": turns, "updates": (("region",), ("image", "video"))}}
    assert passes_by_turn(names, train) == [(0.25, [["image"]]), (0.75, [["region"], ["video"], ["image"]])]


def test_streams_that_take_turns_count_with_their_share():
    turns = {"clean": {"share": 0.25, "streams": ("b", "c")}, "noisy": {"share": 0.75, "streams": ("a", "c")}}
    assert stream_shares(["a", "b", "c"], turns) == {"a": 0.75, "b": 0.25, "c": 1.0}
    assert stream_shares(["a"], None) == {"a": 1.0}
