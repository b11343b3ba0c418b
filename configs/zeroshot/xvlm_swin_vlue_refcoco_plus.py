"""X-VLM with Swin base, fine-tuned on RefCOCO+, on VLUE's phrases (arXiv:2205.15237), whose boxes stand in the file.

Nothing is trained: tools/test.py wants the checkpoint of configs/finetune/xvlm_swin_refcoco_plus.py.

Raw files in place of these, by data set (docs/public_data.md):

    *: as published
"""

from mmengine.config import read_base

with read_base():
    from ..base.runtime import *
    from ..base.refcoco_plus_data import evaluations, objectives, data_root
    from ..base.xvlm_swin_finetune_model import *

data_root = "data/vlue"
model.embed_dim = None
model.objectives = objectives
evaluations.pop("val")
evaluations.pop("test_b")
evaluations.test_a.dataset.ann_file = "refcoco+_vlue_test.json"
