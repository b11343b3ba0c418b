"""X-VLM with Swin base, fine-tuned on COCO captions, on the images of VLUE's retrieval (arXiv:2205.15237).

Nothing is trained: tools/test.py wants the checkpoint of configs/finetune/xvlm_swin_captioning_coco.py.

Raw files in place of these, by data set (docs/public_data.md):

    *: as published
"""

from mmengine.config import read_base

with read_base():
    from ..base.runtime import *
    from ..finetune.xvlm_swin_captioning_coco import data_root, evaluations, model, tokenizer

data_root = "data/vlue"
evaluations.pop("val")
evaluations.test.dataset.ann_file = "caption_vlue_test.json"
