"""What a checkpoint of a run holds: weights, optimizer state by name, schedulers, loops and streams, and the config."""

import time
from typing import Any

import mmengine
from mmengine.utils import apply_to

from x2vlm.config_to_python import config_text
from x2vlm.engine.distributed.model_wrapper import unwrap_model
from x2vlm.engine.optim.optimizer_state import with_names


def checkpoint_content(runner: Any, meta: dict[str, Any], optimizer: bool, schedulers: bool) -> dict[str, Any]:
    """The content under MMEngine's keys, in main memory; hooks add theirs (places of the streams, averaged weights).

    Args:
        runner: The run.
        meta: What is added to ``meta`` (``epoch``, ``iter``, ``cfg``, ``seed``, ...).
        optimizer: With the state of the optimizer, under the names of the parameters.
        schedulers: With the states of the schedules.
    """
    model = unwrap_model(runner.model)
    meta = {"epoch": runner.epoch, "iter": runner.iter + 1} | meta
    meta |= {"cfg": config_text(runner.cfg), "seed": runner.seed, "experiment_name": runner.experiment_name}
    meta |= {"time": time.strftime("%Y%m%d_%H%M%S"), "mmengine_version": mmengine.__version__}
    meta |= {"dataset_meta": getattr(runner.train_dataloader.dataset, "metainfo", {})}
    content = {"meta": meta, "state_dict": model.state_dict(), "message_hub": runner.message_hub.state_dict()}
    if optimizer:
        state = runner.optim_wrapper.state_dict()
        content["optimizer"] = with_names(state, model, runner.optim_wrapper.optimizer)
    if schedulers and runner.param_schedulers is not None:
        content["param_schedulers"] = [scheduler.state_dict() for scheduler in runner.param_schedulers]
    content = apply_to(content, lambda value: hasattr(value, "cpu"), lambda value: value.cpu())
    runner.call_hook("before_save_checkpoint", checkpoint=content)
    return content
