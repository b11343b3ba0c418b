"""The published CCLM on xGQA with its texts translated into English by machine (translate-test).

Nothing is trained: tools/test.py wants a checkpoint that was fine-tuned in English by
configs/finetune/cclm_swin_xgqa.py.

Raw files in place of these, by data set (docs/public_data.md):

    *: as published
"""

from mmengine.config import read_base

with read_base():
    from ..base.cclm_swin_model import *
    from ..base.runtime import *
    from ..base.xgqa_data import files, common, objectives, data_root

model.vision_encoder.image_size = 384
model.vision_encoder.window = 12
model.embed_dim = None
model.objectives = objectives
evaluations = dict(
    bn=dict(dataset=dict(**files, ann_file="xGQA_machine-translate/bn/test.json"), **common),
    de=dict(dataset=dict(**files, ann_file="xGQA_machine-translate/de/test.json"), **common),
    id=dict(dataset=dict(**files, ann_file="xGQA_machine-translate/id/test.json"), **common),
    ko=dict(dataset=dict(**files, ann_file="xGQA_machine-translate/ko/test.json"), **common),
    pt=dict(dataset=dict(**files, ann_file="xGQA_machine-translate/pt/test.json"), **common),
    ru=dict(dataset=dict(**files, ann_file="xGQA_machine-translate/ru/test.json"), **common),
    zh=dict(dataset=dict(**files, ann_file="xGQA_machine-translate/zh/test.json"), **common),
)
test_cfg = dict(
    type="EvaluationLoop",
    means={
        "test/exact_match": [
            "bn/exact_match",
            "de/exact_match",
            "id/exact_match",
            "ko/exact_match",
            "pt/exact_match",
            "ru/exact_match",
            "zh/exact_match",
        ]
    },
)
