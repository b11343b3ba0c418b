"""X-FM base, zero-shot: retrieval on COCO at 224 pixels, the 256 nearest ranked again.

Nothing is trained: tools/test.py wants a pre-trained checkpoint.
"""

from mmengine.config import read_base

with read_base():
    from ..base.runtime import *
    from ..base.retrieval_coco_data import evaluations, objectives, data_root
    from ..base.xfm_finetune_model import *

model.objectives = objectives
for evaluation in evaluations.values():
    evaluation.metric.k = 256
    evaluation.dataset.pipeline[2].size = 224
