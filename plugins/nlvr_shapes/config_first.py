"""The first steps: a few sentences with few words about drawn towers. Then `config.py`, from these weights.

x2vlm make-vocab nlvr_vocab.txt data/nlvr_v1/dev.jsonl data/nlvr_v1/train_examples.jsonl --key sentence
x2vlm train plugins/nlvr_shapes/config_first.py --work-dir work_dirs/nlvr_first
"""

from mmengine.config import read_base

with read_base():
    from .config import *

model.fusion_encoder.batch_statistics = True
streams.statement.dataset.grammar = "first"
streams.statement.dataset.seed = 3
streams.statement.dataset.num_statements = 6
streams.statement.dataset.towers = 1.0
streams.statement.batch_size = 20
evaluations.drawn.dataset.grammar = "first"
evaluations.drawn.dataset.towers = 1.0
evaluations.drawn.dataset.num_statements = 4
train_cfg.max_iters = 600
train_cfg.val_interval = 150
param_scheduler.warmup = 20
