"""Started by torchrun, two processes: ``ddp_run.py FOLDER`` does all the runs that the tests look at, one by one."""

import os
import sys
from functools import partial
from pathlib import Path

import torch.distributed as dist
from mmengine.config import Config

import x2vlm.engine.train_step
from tests.engine.distributed.sharded_parts import SHARDED
from tests.engine.failures.test_deferred_check import poisoned
from tests.engine.tiny_parts import PLAN, sgd_config, tiny_config
from x2vlm.engine import build_runner

folder = Path(sys.argv[1])


def train(config: dict) -> None:
    config["default_hooks"]["checkpoint"] = dict(type="CheckpointHook", interval=3)
    build_runner(Config(config)).train()
    dist.barrier()


train(sgd_config(folder / "plain", 6))
train(sgd_config(folder / "accumulated", 6, accumulative_counts=3))
planned = sgd_config(folder / "planned", 6)
planned["train_cfg"] |= dict(plan=PLAN, global_batch=dict(image=4, text=6))
train(planned)
train(tiny_config(folder / "whole", 6))
if dist.get_rank() == 0:
    (folder / "parts").mkdir()
    os.link(folder / "whole" / "iter_3.pth", folder / "parts" / "iter_3.pth")
dist.barrier()
train(tiny_config(folder / "parts", 6, resume=True))
for kind, changes in (("ddp", {}), ("sharded", dict(model_wrapper_cfg=SHARDED))):
    for late in (False, True):  # checked before the update, or one step later as on GPUs
        x2vlm.engine.train_step.defers_check = lambda optimizer, device, late=late: late
        work_dir = folder / f"skipped_{kind}_{late}"
        train(
            poisoned(
                partial(tiny_config, work_dir), (2, 9), "loss" if kind == "ddp" else "gradient", max_iters=9, **changes
            )
        )
dist.destroy_process_group()
