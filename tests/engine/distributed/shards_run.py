"""Started by torchrun: ``shards_run.py FOLDER`` trains on the shards in it; each process writes down what it read."""

import json
import sys
from pathlib import Path

import torch.distributed as dist
from mmengine.config import Config
from mmengine.hooks import Hook

from tests.engine.tiny_parts import sgd_config
from x2vlm.engine import build_runner

folder = Path(sys.argv[1])


class Read(Hook):
    """The places of the records of every step."""

    def __init__(self):
        self.steps = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        batch = data_batch["shards"]
        self.steps.append({"read": list(batch.where), "bad": [bad.where for bad in batch.bad]})


cfg = sgd_config(folder / "work", 13)
pipeline = [dict(type="LoadImage"), dict(type="PickCaption", clean=False), dict(type="PackSample")]
cfg["streams"] = dict(
    shards=dict(
        dataset=dict(type="TarShards", ann_file=str(folder / "*.jsonl"), pipeline=pipeline),
        collate=dict(type="TinyCollate", noise=False),
        batch_size=1,
        num_workers=1,
    )
)
cfg |= dict(evaluations={}, bad_records=dict(max_fraction=0.5))
runner, read = build_runner(Config(cfg)), Read()
runner.register_hook(read)
runner.train()
(folder / f"read_{dist.get_rank()}.json").write_text(json.dumps(read.steps))
dist.destroy_process_group()
