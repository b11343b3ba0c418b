"""Plans of whole runs."""

import pytest

from x2vlm.building import ConfigError
from x2vlm.planning.config_shapes import batch_shapes
from x2vlm.planning.model_shapes import BatchShape
from x2vlm.planning.run_plan import plan_run, processes_for_global_batch

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
    report = plan_run(pretrain(name))
    assert round(report["parameters"]["total"] / 1e6) == millions
    assert (report["processes"], report["reading"]["image"]["records"] > 0) == (processes, True)
    assert batch_shapes(pretrain(name))["image"].pairs == batch


def test_processes_come_from_the_global_batch():
    batches = {"image": BatchShape(64, 64, 1, 40, 12, ())}
    assert processes_for_global_batch(batches, {"global_batch": {"image": 1024}}) == 16
    assert processes_for_global_batch(batches, {}) == 1


def test_streams_that_go_by_themselves_need_the_memory_of_the_largest(pretrain):
    cfg = pretrain("x2vlm_base_4m")
    together = plan_run(cfg)
    cfg.train_cfg.passes = "by_stream"
    by_stream = plan_run(cfg)
    kept = together["activations"].values()
    assert together["memory"]["ddp"]["activations"] == pytest.approx(sum(kept))
    assert by_stream["memory"]["ddp"]["activations"] == max(kept)
    gathered = [report["sent_per_step"]["fsdp"]["parameters"] for report in (together, by_stream)]
    assert gathered[1] == 2 * gathered[0]  # images and regions


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model.vision_encoder.type": "TimmVisionEncoder"}, "model.vision_encoder: there are formulas for BEiT2 only"),
        ({"model.text_encoder.path": "some-bert"}, "model.text_encoder.path: some-bert is neither a folder nor one of"),
        ({"streams": {}}, "streams: the config trains nothing"),
    ],
)
def test_what_has_no_formula_is_refused(pretrain, change, sentence):
    cfg = pretrain("x2vlm_base_4m")
    cfg.merge_from_dict({key: value for key, value in change.items() if value})
    if "streams" in change:
        cfg.streams = {}
    with pytest.raises(ConfigError, match=sentence.replace("(", r"\(")):
        plan_run(cfg)
