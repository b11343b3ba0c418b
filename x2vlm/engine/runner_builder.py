"""``build_runner``: the runner of a config, for training or for testing."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config

from x2vlm.building import ConfigError
from x2vlm.data.io.paths import check_output_folder
from x2vlm.engine.checkpoint.required_weights import check_required
from x2vlm.engine.checkpoint.resume import choose_start
from x2vlm.engine.cpu_allocator import keep_freed_memory
from x2vlm.engine.defaults import fill_defaults
from x2vlm.engine.distributed.launch import init_processes
from x2vlm.engine.runner import MixedRunner

_RUNNER_KEYS = (
    *("work_dir", "load_from", "resume", "launcher", "env_cfg", "log_processor", "log_level", "visualizer"),
    *("default_scope", "randomness", "default_hooks", "custom_hooks", "experiment_name"),
)


def build_runner(cfg: Config | Mapping[str, Any], mode: str = "train") -> MixedRunner:
    """The runner of a config, ready for ``.train()`` or ``.test()``.

    Args:
        cfg: From ``load_config``. ``resume`` may be False, True (the latest checkpoint of ``work_dir``, or a new run if
            there is none), or a checkpoint. ``load_from`` only names the weights to start from, and ``loading`` which
            of them may be missing.
        mode: ``train``: streams, and the evaluations in between. ``test``: only the evaluations, on the weights of
            ``load_from``.

    Raises:
        ConfigError: If a component cannot be built, or the run would overwrite an earlier one.
        FileNotFoundError: If an annotation file is missing.
    """
    cfg = fill_defaults(cfg)
    check_output_folder(cfg.work_dir, "work_dir")
    if not torch.cuda.is_available():
        keep_freed_memory()
    init_processes(cfg.launcher, cfg.env_cfg.get("dist_cfg"))
    warnings: list[str] = []
    if mode == "train":
        warnings = choose_start(cfg)
        check_required(cfg)
        arguments = _training_arguments(cfg) | _evaluation_arguments(cfg, "val")
    elif mode == "test":
        cfg.resume = False
        arguments = _evaluation_arguments(cfg, "test")
        if not arguments:
            raise ConfigError("there is nothing to test: the config has no evaluations.", "evaluations")
    else:
        raise ValueError(f"mode '{mode}' is not known. Accepted: train, test.")
    arguments |= {key: cfg[key] for key in _RUNNER_KEYS}
    runner = MixedRunner(model=cfg.model, cfg=cfg, **copy.deepcopy(arguments))
    for warning in warnings:
        runner.logger.warning(warning)
    return runner


def _training_arguments(cfg: Config) -> dict[str, Any]:
    """MMEngine's arguments for training."""
    for key in ("streams", "train_cfg", "optim_wrapper"):
        if not cfg.get(key):
            raise ConfigError("is missing, and training needs it.", key)
    return {
        "train_dataloader": cfg.streams,
        "train_cfg": cfg.train_cfg,
        "optim_wrapper": cfg.optim_wrapper,
        "param_scheduler": cfg.get("param_scheduler"),
    }


def _evaluation_arguments(cfg: Config, mode: str) -> dict[str, Any]:
    """MMEngine's arguments for evaluation; none for a config without evaluations."""
    evaluations = cfg.get("evaluations") or {}
    if not evaluations:
        return {}
    return {
        f"{mode}_cfg": cfg[f"{mode}_cfg"],
        f"{mode}_dataloader": {
            name: {key: value for key, value in evaluation.items() if key != "metric"}
            for name, evaluation in evaluations.items()
        },
        f"{mode}_evaluator": {name: evaluation.get("metric") for name, evaluation in evaluations.items()},
    }
