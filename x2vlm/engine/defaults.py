"""Defaults of a config: the keys that MMEngine's runner reads, with everything counted in iterations."""

import copy
import os
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.model import MMDistributedDataParallel

from x2vlm.building import ConfigError
from x2vlm.engine.optim.optim_wrapper import accumulative_counts
from x2vlm.run_name import run_name

# Hooks without which a run is not correct; a config may replace them. Their numbers are in configs/base/runtime.py.
NEEDED_HOOKS = {
    "runtime_info": {"type": "MeanScalarsHook"},
    "timer": {"type": "ThroughputHook"},
    "sampler_seed": None,
    "logger": {"type": "LoggerHook"},
    "param_scheduler": {"type": "ParamSchedulerHook"},
    "checkpoint": {"type": "CheckpointHook"},
    "train_state": {"type": "TrainStateHook"},
    "stop": {"type": "StopHook"},
}
_MMENGINE_HOOKS = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")
_names = count(1)


def fill_defaults(cfg: Config | Mapping[str, Any]) -> Config:
    """A copy of a config with defaults for every key that the runner reads.

    Raises:
        ConfigError: If checkpoints would be written inside an accumulation, whose gradients they do not hold.
    """
    cfg = copy.deepcopy(cfg) if isinstance(cfg, Config) else Config(copy.deepcopy(dict(cfg)))
    name = run_name(cfg.filename) if cfg.filename else "run"
    label = name.replace("/", "-")
    number = next(_names)  # MMEngine's loggers are global by name: two runners of a process must not share one
    defaults = {
        "work_dir": str(Path("work_dirs") / name),
        "default_scope": "x2vlm",
        "experiment_name": label if number == 1 else f"{label}-{number}",
        "launcher": "pytorch" if int(os.environ.get("WORLD_SIZE", 1)) > 1 else "none",
        "env_cfg": {"mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0}},
        "randomness": {"seed": None},
        "val_cfg": {"type": "EvaluationLoop"},
        "test_cfg": {"type": "EvaluationLoop"},
        "log_level": "INFO",
        "load_from": None,
        "resume": False,
        "custom_hooks": [],
        "visualizer": None,
    }
    for key, value in defaults.items():
        if cfg.get(key) is None:
            cfg[key] = value
    hooks = copy.deepcopy(NEEDED_HOOKS) | dict(cfg.get("default_hooks") or {})
    # None removes a hook; MMEngine accepts that for its own default hooks only.
    cfg.default_hooks = {name: hook for name, hook in hooks.items() if hook is not None or name in _MMENGINE_HOOKS}
    if cfg.get("keep_best") and cfg.default_hooks.get("checkpoint"):
        cfg.default_hooks.checkpoint.setdefault("save_best", cfg.keep_best)
        cfg.default_hooks.checkpoint.setdefault("rule", "greater")
    _count_iterations(cfg)
    cfg.model_wrapper_cfg = {"type": "MMDistributedDataParallel"} | dict(cfg.get("model_wrapper_cfg") or {})
    if _is(cfg.model_wrapper_cfg, MMDistributedDataParallel):
        cfg.model_wrapper_cfg.setdefault("broadcast_buffers", False)
        # A stream uses only some parameters; and gradients are synchronised only in the last backward pass.
        cfg.model_wrapper_cfg.setdefault("find_unused_parameters", True)
        if not torch.cuda.is_available():
            cfg.model_wrapper_cfg.device_ids = None
    return cfg


def _count_iterations(cfg: Config) -> None:
    """Default to iterations for schedulers, checkpoints and the log, as streams have no epochs."""
    schedulers = cfg.get("param_scheduler") or []
    for scheduler in schedulers if isinstance(schedulers, Sequence) else [schedulers]:
        scheduler.setdefault("by_epoch", False)
    interval = 10
    for hook in cfg.default_hooks.values():
        if _is(hook, CheckpointHook):
            hook.setdefault("by_epoch", False)
            _check_accumulation(cfg, hook.get("interval", -1))
        if _is(hook, LoggerHook):
            hook.setdefault("log_metric_by_epoch", False)
            interval = hook.get("interval", interval)
    times = [{"data_src": key, "method_name": "mean", "window_size": interval} for key in ("time", "data_time")]
    log = {"type": "LogProcessor", "by_epoch": False, "window_size": 1, "custom_cfg": times}
    cfg.log_processor = log | dict(cfg.get("log_processor") or {})


def _is(component: Any, kind: type) -> bool:
    """Whether the config of a component names a class."""
    type_ = component.get("type") if isinstance(component, Mapping) else None
    return type_ == kind.__name__ or type_ is kind


def _check_accumulation(cfg: Config, interval: int) -> None:
    counts = accumulative_counts(cfg.get("optim_wrapper"))
    if counts < 1:
        raise ConfigError(f"is {counts}; expected 1 or more.", "optim_wrapper.accumulative_counts")
    if interval > 0 and interval % counts:
        raise ConfigError(
            f"checkpoints every {interval} iterations would fall inside an accumulation of {counts}, whose gradients "
            f"they do not hold. Make it a multiple of {counts}.",
            "default_hooks.checkpoint.interval",
        )
