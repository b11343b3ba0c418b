"""X-FM base, linear probe: ImageNet at 224 pixels by a linear head on the frozen vision encoder.

Published: labels smoothed by 0.1, no mixing, batches of 256 a process; otherwise as fine-tuning.
"""

from mmengine.config import read_base

with read_base():
    from .xfm_base_imagenet import *

model.frozen = ("vision_encoder",)
model.objectives.classification.head = "linear"
model.objectives.classification.smoothing = 0.1
streams.image.pop("collate")
streams.image.batch_size = 256
