"""Started by torchrun: ``traffic_run.py FILE`` counts what processes hand to the collectives in a step, as JSON."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from tests.planning import shaped
from x2vlm import distributed
from x2vlm.planning.model_shapes import BatchShape

BATCH = BatchShape(6, 4, 1, 10, 3, ("itc", "itm", "mlm", "bbox"))


class Gathers(TorchDispatchMode):
    """Numbers in what FSDP gathers (as it comes out) and shares out (as it goes in)."""

    def __init__(self):
        super().__init__()
        self.gathered = self.scattered = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.name() == "c10d::_allgather_base_":
            self.gathered += args[0].numel()
        if function.name() == "c10d::_reduce_scatter_base_":
            self.scattered += args[1].numel()
        return function(*args, **(kwargs or {}))


def counting(original, counted, key):
    def collective(first, *rest, **more):
        tensor = rest[0] if rest and isinstance(rest[0], torch.Tensor) else first
        counted[key] += tensor.numel() if tensor.is_floating_point() else 0
        return original(first, *rest, **more)

    return collective


def with_ddp() -> dict:
    torch.manual_seed(0)
    counted = {"gradients": 0, "features": 0, "feature_gradients": 0}
    model = DistributedDataParallel(shaped.model().train())

    def hook(state, bucket):
        counted["gradients"] += bucket.buffer().numel()
        future = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    model.register_comm_hook(None, hook)
    originals = dist.all_gather, dist.all_reduce
    distributed.dist.all_gather = counting(originals[0], counted, "features")
    distributed.dist.all_reduce = counting(originals[1], counted, "feature_gradients")
    losses = model(shaped.batch(BATCH), objectives=BATCH.objectives)
    sum(value for key, value in losses.items() if "loss" in key).backward()
    distributed.dist.all_gather, distributed.dist.all_reduce = originals
    return counted


def with_fsdp() -> dict:
    torch.manual_seed(0)
    model = shaped.model(fusion=False, objectives=("itc",)).train()
    for layer in (*model.vision_encoder.net.blocks, *model.text_encoder.net.encoder.layer):
        fully_shard(layer)
    fully_shard(model, ignored_params={model.temperature})
    with Gathers() as gathers:
        model(shaped.batch(BATCH), objectives=("itc",))["loss_itc"].backward()
    return {"gathered": gathers.gathered, "scattered": gathers.scattered}


dist.init_process_group("gloo")
counted = with_ddp() | with_fsdp()
if dist.get_rank() == 0:
    Path(sys.argv[1]).write_text(json.dumps(counted))
dist.barrier()
dist.destroy_process_group()
