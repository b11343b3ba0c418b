"""The published CCLM on XVNLI with its texts translated into English by machine (translate-test).

Nothing is trained: tools/test.py wants a checkpoint that was fine-tuned in English by
configs/finetune/cclm_swin_xvnli.py.

Raw files in place of these, by data set (docs/public_data.md):

    *: as published
"""

from mmengine.config import read_base

with read_base():
    from ..base.cclm_swin_model import *
    from ..base.runtime import *
    from ..base.xvnli_data import files, common, test_pipeline, objectives, data_root

model.vision_encoder.image_size = 384
model.vision_encoder.window = 12
model.embed_dim = None
model.objectives = objectives
evaluations = dict(
    ar=dict(dataset=dict(**files, ann_file="machine-translate/ar/test.jsonl"), **common),
    es=dict(dataset=dict(**files, ann_file="machine-translate/es/test.jsonl"), **common),
    fr=dict(dataset=dict(**files, ann_file="machine-translate/fr/test.jsonl"), **common),
    ru=dict(dataset=dict(**files, ann_file="machine-translate/ru/test.jsonl"), **common),
)
test_cfg = dict(
    type="EvaluationLoop",
    means={"test/accuracy": ["ar/accuracy", "es/accuracy", "fr/accuracy", "ru/accuracy"]},
)
