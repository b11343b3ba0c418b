"""The published CCLM on xFlickr&CO with its texts translated into English by machine (translate-test).

Nothing is trained: tools/test.py wants a checkpoint that was fine-tuned in English by
configs/finetune/cclm_swin_xflickrco.py.

Raw files in place of these, by data set (docs/public_data.md):

    *: as published
"""

from mmengine.config import read_base

with read_base():
    from ..base.cclm_swin_model import *
    from ..base.runtime import *
    from ..base.xflickrco_data import files, common, test_pipeline, objectives, data_root

model.vision_encoder.image_size = 384
model.vision_encoder.window = 12
model.objectives = objectives
evaluations = dict(
    de=dict(dataset=dict(**files, ann_file="machine-translate/de/test_gmt.jsonl"), **common),
    es=dict(dataset=dict(**files, ann_file="machine-translate/es/test_gmt.jsonl"), **common),
    id=dict(dataset=dict(**files, ann_file="machine-translate/id/test_gmt.jsonl"), **common),
    ja=dict(dataset=dict(**files, ann_file="machine-translate/ja/test_gmt.jsonl"), **common),
    ru=dict(dataset=dict(**files, ann_file="machine-translate/ru/test_gmt.jsonl"), **common),
    tr=dict(dataset=dict(**files, ann_file="machine-translate/tr/test_gmt.jsonl"), **common),
    zh=dict(dataset=dict(**files, ann_file="machine-translate/zh/test_gmt.jsonl"), **common),
)
test_cfg = dict(
    type="EvaluationLoop",
    means={"test/t2i_r1": ["de/t2i_r1", "es/t2i_r1", "id/t2i_r1", "ja/t2i_r1", "ru/t2i_r1", "tr/t2i_r1", "zh/t2i_r1"]},
)
