"""Started by torchrun, two processes: ``sharded_run.py FOLDER`` does all the runs for ``test_sharding.py``."""

import os
import shutil
import sys
from pathlib import Path

import mmengine
import torch
import torch.distributed as dist
from mmengine.hooks import Hook

from tests.engine.distributed.sharded_parts import SHARDED, everything, reordered, tiny_sharded
from x2vlm.engine import build_runner

folder = Path(sys.argv[1])
mmengine.config.config.FormatCode = lambda text, **_: (text, False)  # a formatter takes longer than a step


class Curve(Hook):
    """Remembers all that every step gave."""

    def __init__(self):
        self.steps = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.steps.append({key: float(value) for key, value in outputs.items()})


def train(cfg):
    curve, runner = Curve(), build_runner(cfg)
    runner.register_hook(curve)
    runner.train()
    dist.barrier()
    if dist.get_rank() == 0:
        torch.save(curve.steps, Path(runner.work_dir) / "curve.pth")
    return runner


def begin_with(checkpoint, work_dir):
    """A folder from which ``--resume`` goes on from a copy of a checkpoint."""
    if dist.get_rank() == 0:
        work_dir.mkdir(parents=True)
        (shutil.copytree if checkpoint.is_dir() else os.link)(checkpoint, work_dir / checkpoint.name)
    dist.barrier()
    return work_dir


def pair_of_runs(name, iterations, change=lambda cfg: None, **options):
    """The same run with DDP and sharded."""
    for kind, changes in (("ddp", {}), ("sharded", dict(model_wrapper_cfg=SHARDED))):
        cfg = everything(folder / f"{name}_{kind}", iterations, **options, **changes)
        change(cfg)
        train(cfg)


def planned(cfg):
    cfg.train_cfg.plan = dict(updates=(("video", "text"), ("image", "region", "parallel", "question", "caption")))
    cfg.optim_wrapper.clip_grad = dict(type="value", clip_value=0.01)
    cfg.model.activation_checkpointing = True
    cfg.optim_wrapper.optimizer = dict(type="AdamW", lr=1e-3)


def in_bf16(cfg):
    cfg.optim_wrapper.precision = "bf16"


pair_of_runs("plain", 20)
pair_of_runs("accumulated", 4, lambda cfg: cfg.optim_wrapper.update(accumulative_counts=2), evaluate=True)
pair_of_runs("planned", 2, planned)
pair_of_runs("bf16", 2, in_bf16)
rounded = everything(folder / "rounded", 2, model_wrapper_cfg=SHARDED | dict(gather="bf16"))
in_bf16(rounded)
train(rounded)

plain = {kind: folder / f"plain_{kind}" / "iter_15.pth" for kind in ("ddp", "sharded")}
again, from_file, to_ddp = (folder / name for name in ("again", "from_file", "to_ddp"))
train(everything(begin_with(plain["sharded"], again), 20, model_wrapper_cfg=SHARDED, resume=True))
train(everything(begin_with(plain["ddp"], from_file), 20, model_wrapper_cfg=SHARDED, resume=True))
train(everything(begin_with(plain["sharded"], to_ddp), 20, resume=True))


class SaveAtOnce(Hook):
    """Saves what was resumed, and stops."""

    def before_train(self, runner):
        runner.save_checkpoint(runner.work_dir, "resumed.pth")
        runner.train_loop.stop_training = True


swapped = reordered(everything(folder / "swapped", 20, model_wrapper_cfg=SHARDED))
swapped.resume = str(plain["sharded"])
runner = build_runner(swapped)
runner.register_hook(SaveAtOnce())
runner.train()

best = dict(save_best="held_out/loss_free", rule="less")
train(tiny_sharded(folder / "two", 6, model_wrapper_cfg=SHARDED, **best))
begin_with(folder / "one" / "iter_3.pth", folder / "one_then_two")
train(tiny_sharded(folder / "one_then_two", 6, model_wrapper_cfg=SHARDED, resume=True))
dist.destroy_process_group()
