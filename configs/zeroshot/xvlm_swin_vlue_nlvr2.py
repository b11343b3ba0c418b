"""X-VLM with Swin base, fine-tuned on NLVR2, on VLUE's sentences about two images (arXiv:2205.15237).

Nothing is trained: tools/test.py wants the checkpoint of configs/finetune/xvlm_swin_nlvr2.py.

Raw files in place of these, by data set (docs/public_data.md):

    *: as published
"""

from mmengine.config import read_base

with read_base():
    from ..base.runtime import *
    from ..base.nlvr2_data import evaluations, objectives, data_root
    from ..base.xvlm_swin_finetune_model import *

data_root = "data/vlue"
model.embed_dim = None
model.objectives = objectives
evaluations.pop("dev")
evaluations.test.dataset.ann_file = "nlvr2_vlue_test.json"
