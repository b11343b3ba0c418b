import json

import pytest

from x2vlm.building import ConfigError
from x2vlm.cli import run
from x2vlm.commands.plan import asked_processes, loads_of, plan, shape_of
from x2vlm.config import load_config
from x2vlm.planning.model_shapes import Load, TextShape, VisionShape, parameters


@pytest.fixture
def pretrain(root):
    return lambda name: load_config(root / "configs" / "pretrain" / f"{name}.py")


# Image batch x processes of the published runs.
PUBLISHED = {
    "x2vlm_base_4m": (255, 128, 8),
    "x2vlm_large_4m": (593, 64, 16),
    "x2vlm_base_1b_stage1": (255, 128, 24),
    "x2vlm_large_1b_stage1": (593, 64, 48),
    "x2vlm_base_1b_stage2": (255, 64, 16),
    "x2vlm_large_1b_stage2": (593, 32, 32),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_run_is_planned_with_its_size_batch_and_processes(name, pretrain):
    millions, batch, processes = PUBLISHED[name]
    report = plan(pretrain(name))
    assert round(report["parameters"]["total"] / 1e6) == millions
    assert (report["processes"], report["reading"]["image"]["records"] > 0) == (processes, True)
    assert loads_of(pretrain(name))["image"].pairs == batch


def test_streams_are_read_as_the_config_has_them(pretrain):
    loads = loads_of(pretrain("x2vlm_base_1b_stage2"))
    assert loads["image"] == Load(64, 64, 1, 40, 12, ("itc", "itm", "mlm"))
    assert loads["region"] == Load(64, 26, 1, 40, 12, ("itc", "itm", "mlm", "bbox"))
    assert loads["video"] == Load(40, 40, 3, 40, 12, ("itc", "itm", "mlm"), share=0.65)
    parallel = loads_of(pretrain("cclm_base"))["parallel"]
    assert parallel == Load(60, 60, 0, 64, 16, ("itc", "itm", "mlm"), sentences=True)


def test_a_models_shape_follows_from_the_config(pretrain):
    shape = shape_of(pretrain("x2vlm_large_4m"))
    assert shape.vision == VisionShape(1024, 24, 16, 14, 14, 16)
    assert shape.text == TextShape(1024, 12, 16, 4096, 30522, 512, 2)
    assert (shape.fusion.depth, shape.fusion.context_width, shape.dropout) == (6, 1024, True)
    multilingual = shape_of(pretrain("cclm_base"))
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
    assert sum(parameters(shape_of(cfg)).values()) == sum(p.numel() for p in model.parameters())


def test_processes_come_from_the_global_batch():
    loads = {"image": Load(64, 64, 1, 40, 12, ())}
    assert asked_processes(loads, {"global_batch": {"image": 1024}}) == 16
    assert asked_processes(loads, {}) == 1


def test_options_change_the_plan(root, capsys):
    config = str(root / "configs" / "pretrain" / "x2vlm_base_4m.py")
    reports = []
    for options in ([], ["--processes", "64"], ["--precision", "fp32"], ["--checkpointing"], ["--step-seconds", "0.5"]):
        assert run("plan", [config, "--json", *options]) == 0
        reports.append(json.loads(capsys.readouterr().out))
    plain, many, exact, recomputed, fast = reports
    assert many["processes"] == 64
    assert many["memory"]["fsdp"]["weights"] == plain["memory"]["fsdp"]["weights"] / 8
    assert exact["activations"]["image"] > 1.5 * plain["activations"]["image"]
    assert recomputed["memory"]["ddp"]["total"] < 0.6 * plain["memory"]["ddp"]["total"]
    assert fast["reading"]["image"]["rate"] == 2 * plain["reading"]["image"]["rate"]


def test_streams_that_go_by_themselves_need_the_memory_of_the_largest(pretrain):
    cfg = pretrain("x2vlm_base_4m")
    together = plan(cfg)
    cfg.train_cfg.passes = "by_stream"
    by_stream = plan(cfg)
    kept = together["activations"].values()
    assert together["memory"]["ddp"]["activations"] == pytest.approx(sum(kept))
    assert by_stream["memory"]["ddp"]["activations"] == max(kept)
    gathered = [report["sent_per_step"]["fsdp"]["parameters"] for report in (together, by_stream)]
    assert gathered[1] == 2 * gathered[0]  # images and regions


def test_the_plan_is_told_in_words(root, capsys):
    assert run("plan", [str(root / "configs" / "pretrain" / "x2vlm_base_4m.py")]) == 0
    shown = capsys.readouterr().out
    assert "8 processes, fp16" in shown
    assert "streams that go together: image, region" in shown
    assert "a worker has" in shown


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model.vision_encoder.type": "TimmVisionEncoder"}, "model.vision_encoder: there are formulas for BEiT2 only"),
        ({"model.text_encoder.path": "some-bert"}, "model.text_encoder.path: some-bert is neither a folder nor one of"),
        ({"streams": {}}, "streams: the config trains nothing"),
    ],
)
def test_what_has_no_formula_is_told(pretrain, change, sentence):
    cfg = pretrain("x2vlm_base_4m")
    cfg.merge_from_dict({key: value for key, value in change.items() if value})
    if "streams" in change:
        cfg.streams = {}
    with pytest.raises(ConfigError, match=sentence.replace("(", r"\(")):
        plan(cfg)
