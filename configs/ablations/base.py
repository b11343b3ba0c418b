"""What the ablations are compared with: the demo without videos, in fewer steps.

Every scene of the region stream has at least two things, so that each has both objects and regions to leave out; and
enough scenes are read to fill the batch from either kind alone.
"""

from mmengine.config import read_base

with read_base():
    from ..demo.toy_pretrain import *

train_cfg.max_iters = train_cfg.val_interval = 1000
default_hooks.checkpoint.interval = 1000

# Steps of the size with which docs/results.md was measured; the demo makes smaller ones.
optim_wrapper.optimizer.lr = 2e-3
streams.image.batch_size = 24
streams.region.batch_size = 64
streams.pop("video")
evaluations.pop("video_retrieval")
streams.region.dataset.objects = (2, 4)
streams.region.max_images = 24  # records (images); batch_size counts pairs
