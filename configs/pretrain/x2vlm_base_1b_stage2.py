"""X2-VLM base, second 1B stage: the 4M data and videos, 16 processes of 64 images, 64 regions and 40 videos each.

Starts from the first stage; positions of frames are new.
"""

from mmengine.config import read_base

with read_base():
    from ..base.pretrain_stage2_data import *
    from ..base.published_adamw import *
    from ..base.runtime import *
    from ..base.x2vlm_base_model import *

load_from = "stage1.pth"  # --cfg-options load_from=FILE
loading = dict(allow_missing=("frame_positions",))
model.num_frames = 3
model.objectives.itc.world = 16
streams.image.batch_size = streams.region.batch_size = 64
streams.region.max_images = 26  # records (images); batch_size counts pairs
train_cfg = dict(
    type="MixedTrainLoop",
    max_epochs=81,
    epoch_of="image",
    epoch_size=5_114_489,
    global_batch=dict(image=1024, region=1024, video=640, video_clean=640),
    plan=dict(turns=turns),
)
optim_wrapper.optimizer.lr = 6e-5
optim_wrapper.precision = "fp16"
param_scheduler.warmup = 1000
