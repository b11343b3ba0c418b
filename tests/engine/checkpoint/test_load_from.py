"""Training that starts from a published checkpoint: converted, resized, reported; groups follow what it filled."""

import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file

from x2vlm.config import load_config
from x2vlm.engine import build_runner
from x2vlm.weights import CheckpointError
from x2vlm.weights.published_state import to_published


@pytest.fixture
def toy(root, tmp_path):
    """The toy pre-training, made very small: ``toy(name, **changes)``."""

    def make(name, **changes):
        cfg = load_config(root / "configs" / "demo" / "toy_pretrain.py")
        cfg.evaluations, cfg.visualizer, cfg.work_dir = {}, None, str(tmp_path / name)
        cfg.streams = {"image": cfg.streams.image}
        cfg.streams.image.batch_size, cfg.streams.image.num_workers = 4, 0
        cfg.train_cfg.max_iters, cfg.param_scheduler.warmup = 2, 0
        cfg.default_hooks.checkpoint = dict(type="CheckpointHook", interval=1)
        cfg.optim_wrapper.paramwise_cfg = dict(lr_mult=2.0)
        for key, value in changes.items():
            cfg[key] = value
        return cfg

    return make


def groups(runner):
    return {group["name"]: len(group["params"]) for group in runner.optim_wrapper.optimizer.param_groups}


def log_of(runner):
    return "".join(path.read_text() for path in Path(runner.work_dir).rglob("*.log"))


def test_a_run_starts_from_a_file_and_what_it_lacks_is_new(toy, tmp_path):
    first = build_runner(toy("first"))
    state = {name: value for name, value in first.model.state_dict().items() if not name.startswith("objectives.itm")}
    torch.save({"model": state}, tmp_path / "start.th")
    with pytest.raises(CheckpointError, match=r"start\.th does not fit this model:\n  missing: objectives\.itm\.head"):
        build_runner(toy("refused", load_from=str(tmp_path / "start.th"))).train()

    loading = dict(allow_missing=["objectives.itm"])
    runner = build_runner(toy("second", load_from=str(tmp_path / "start.th"), loading=loading))
    runner.train()
    new = {name for name in first.model.state_dict() if name.startswith("objectives.itm")}
    assert runner.model.fresh_parameters() == new
    assert sum(count for name, count in groups(runner).items() if name.startswith("fresh/")) == len(new)
    assert "missing as allowed, left as the model was made 6: objectives.itm.head" in log_of(runner)

    # Going on keeps the groups, without looking at the file the run began with.
    (tmp_path / "start.th").unlink()
    (tmp_path / "third").mkdir()
    os.link(tmp_path / "second" / "iter_1.pth", tmp_path / "third" / "iter_1.pth")
    again = build_runner(toy("third", resume=True, load_from=None))
    again.train()
    assert again.model.fresh_parameters() == new
    assert groups(again) == groups(runner)
    ours, theirs = (torch.load(tmp_path / name / "iter_2.pth")["state_dict"] for name in ("third", "second"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_recorded_model_is_taken_by_a_run_from_its_published_names(toy, shared, tmp_path):
    tensors = load_file(shared / "golden" / "a_pretrain_beit2_bert.safetensors")
    state = {name[6:]: value for name, value in tensors.items() if name.startswith("state.")}
    torch.save({"model": state, "config": {"image_res": 64}}, tmp_path / "official.th")
    text = dict(vocab_size=200, hidden_size=48, num_attention_heads=4, intermediate_size=96, max_position_embeddings=64)
    model = dict(
        type="X2VLM",
        vision_encoder=dict(type="BEiT2", image_size=96, width=64, depth=3, num_heads=4),
        text_encoder=dict(type="HFTextEncoder", config=dict(model_type="bert", num_hidden_layers=4, **text)),
        fusion_encoder=dict(type="CrossAttentionFusion", depth=2, num_heads=4, mlp_width=96),
        objectives=dict(itc=dict(type="ITC"), itm=dict(type="ITM"), mlm=dict(type="MLM"), bbox=dict(type="BBox")),
        embed_dim=32,
        num_frames=3,
    )
    cfg = toy("run", load_from=str(tmp_path / "official.th"))
    cfg.pop("model")
    cfg.model = Config(dict(model=model)).model
    runner = build_runner(cfg)
    runner.load_checkpoint(cfg.load_from)
    loaded = to_published(runner.model.state_dict(), "XVLM")
    for name, value in state.items():
        if "relative_position" not in name:
            assert torch.equal(loaded[name], value), name
    assert loaded["vision_encoder.blocks.0.attn.relative_position_bias_table"].shape == (124, 4)
    assert "published XVLM, names converted" in log_of(runner)
