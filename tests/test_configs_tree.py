"""Every config of the project is right, as far as that can be seen without building it."""

import re
from functools import cache
from pathlib import Path

import pytest

from x2vlm.commands.check_config import config_files
from x2vlm.config import load_config

ROOT = Path(__file__).resolve().parents[1]
loaded = cache(load_config)  # each config is read and checked once; nothing here changes one


@pytest.mark.parametrize("path", config_files(ROOT), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_config_of_the_tree_has_no_problem(path):
    cfg = loaded(path)
    assert cfg.filename == str(path)


PUBLISHED = [path for path in config_files(ROOT) if path.stem.split("_")[0] in ("x2vlm", "cclm", "xfm", "xvlm")]
TORCH_ADAMW = ("xfm_base_imagenet", "xfm_base_cifar")  # as published


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_published_recipe_has_the_published_optimizer_and_its_row_in_the_table(path):
    cfg = loaded(path)
    table = (ROOT / "docs" / "recipes.md").read_text()
    assert re.search(rf"(\]: |\()\.\./{re.escape(str(path.relative_to(ROOT)))}[)\n]", table)
    if "streams" not in cfg:
        return
    wanted = "AdamW" if path.stem.startswith(TORCH_ADAMW) else "PublishedAdamW"
    assert getattr(cfg.optim_wrapper.optimizer.type, "__name__", cfg.optim_wrapper.optimizer.type) == wanted
    assert bool(cfg.optim_wrapper.clip_grad) == (path.parent.name == "pretrain")  # only pre-training clips
    for name in cfg.train_cfg.get("global_batch") or {}:
        assert cfg.train_cfg.global_batch[name] % cfg.streams[name].batch_size == 0


def test_files_that_metrics_read_start_from_the_data_root():
    from x2vlm.data.data_root import with_data_root
    from x2vlm.registry import METRICS

    cfg = loaded(ROOT / "configs" / "zeroshot" / "x2vlm_base_ovad.py")
    metric = with_data_root(cfg.evaluations.attributes.metric, cfg.data_root, METRICS)
    assert metric["attributes"] == "data/ovad/ovad2000.json"


@pytest.mark.parametrize(
    ("name", "processes", "image", "region", "weight", "max_images", "lr", "warmup", "epochs"),
    [
        ("x2vlm_base_4m", 8, 128, 128, 1.0, 50, 1e-4, 2500, 101),
        ("x2vlm_large_4m", 16, 64, 64, 1.0, 25, 5e-5, 2500, 101),
        ("x2vlm_base_1b_stage1", 24, 128, 64, 0.5, 26, 1e-4, 2500, 3),
        ("x2vlm_large_1b_stage1", 48, 64, 32, 0.5, 14, 5e-5, 2500, 3),
        ("x2vlm_base_1b_stage2", 16, 64, 64, 1.0, 26, 6e-5, 1000, 81),
        ("x2vlm_large_1b_stage2", 32, 32, 32, 1.0, 14, 3e-5, 1000, 81),
        ("cclm_base", 8, 60, 60, 1.0, 26, 4e-5, 1000, 39),
        ("cclm_large", 16, 30, 30, 1.0, 14, 3e-5, 1000, 39),
    ],
)
def test_a_pre_training_has_the_published_numbers(
    name, processes, image, region, weight, max_images, lr, warmup, epochs
):
    cfg = loaded(ROOT / "configs" / "pretrain" / f"{name}.py")
    streams = cfg.streams
    assert cfg.model.objectives.itc.world == processes
    assert (streams.image.batch_size, streams.region.batch_size) == (image, region)
    assert (streams.region.get("weight", 1.0), streams.region.max_images) == (weight, max_images)
    assert (cfg.optim_wrapper.optimizer.lr, cfg.param_scheduler.warmup, cfg.train_cfg.max_epochs) == (
        lr,
        warmup,
        epochs,
    )
    for stream, pairs in cfg.train_cfg.global_batch.items():
        assert pairs == streams[stream].batch_size * processes
