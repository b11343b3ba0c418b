"""The demo: a tiny model learns to match and to point in the toy world, on two CPU cores, within ten minutes."""

from mmengine.config import read_base

with read_base():
    from ..base.adamw import *
    from ..base.runtime import *
    from ..base.tiny_model import *
    from ..base.toy_data import *

train_cfg = dict(type="MixedTrainLoop", max_iters=1400, val_interval=350)
optim_wrapper.optimizer.lr = 2e-3
default_hooks.checkpoint.interval = 700
default_hooks.finish = dict(type="FinishTimeHook")
