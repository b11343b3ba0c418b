"""X-VLM with Swin base, fine-tuned on COCO, on VLUE's retrieval (arXiv:2205.15237), the 256 nearest ranked again.

Nothing is trained: tools/test.py wants the checkpoint of configs/finetune/xvlm_swin_retrieval_coco.py.

Raw files in place of these, by data set (docs/public_data.md):

    *: as published
"""

from mmengine.config import read_base

with read_base():
    from ..base.runtime import *
    from ..base.retrieval_coco_data import evaluations, objectives, data_root
    from ..base.xvlm_swin_finetune_model import *

data_root = "data/vlue"
model.objectives = objectives
evaluations.pop("val")
evaluations.retrieval.metric.k = 256
evaluations.retrieval.dataset.ann_file = "itr_vlue_test.json"
