"""Started by torchrun: ``split_run.py FOLDER`` writes losses and gradients of each process's share of one batch."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel

from tests.engine.distributed.splitting import model_of, share, step
from x2vlm.distributed import full_tensor
from x2vlm.engine.distributed.fsdp import FullySharded

folder = Path(sys.argv[1])
dist.init_process_group("gloo")
mine = share(dist.get_rank(), dist.get_world_size())
for name, wrap in {
    "ddp": lambda model: MMDistributedDataParallel(model, find_unused_parameters=True),
    "sharded": FullySharded,
}.items():
    model = wrap(model_of(dist.get_world_size()))
    losses = step(model, mine)
    for value in losses.values():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    gradients = {key: full_tensor(p.grad).clone() for key, p in model.module.named_parameters() if p.grad is not None}
    if dist.get_rank() == 0:
        torch.save({"losses": losses, "gradients": gradients}, folder / f"{name}.pth")
dist.destroy_process_group()
