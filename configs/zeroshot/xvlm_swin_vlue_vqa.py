"""X-VLM with Swin base, fine-tuned on VQA v2, on VLUE's questions (arXiv:2205.15237).

Nothing is trained: tools/test.py wants the checkpoint of configs/finetune/xvlm_swin_vqa.py.

Raw files in place of these, by data set (docs/public_data.md):

    *: as published
"""

from mmengine.config import read_base

with read_base():
    from ..base.runtime import *
    from ..base.vqa_data import evaluations, objectives, data_root
    from ..base.xvlm_swin_finetune_model import *

data_root = "data/vlue"
model.embed_dim = None
model.objectives = objectives
evaluations.pop("test")
evaluations.val.dataset.pop("subset")
evaluations.val.dataset.ann_file = "vqa_vlue_test.json"
evaluations.val.dataset.pipeline[3].size = 384
