"""The published CCLM on WIT with its texts translated into English by machine (translate-test).

Nothing is trained: tools/test.py wants a checkpoint that was fine-tuned in English by
configs/finetune/cclm_swin_wit.py.

Raw files in place of these, by data set (docs/public_data.md):

    *: as published
"""

from mmengine.config import read_base

with read_base():
    from ..base.cclm_swin_model import *
    from ..base.runtime import *
    from ..base.wit_data import files, common, test_pipeline, objectives, data_root

model.vision_encoder.image_size = 384
model.vision_encoder.window = 12
model.objectives = objectives
evaluations = dict(
    ar=dict(dataset=dict(**files, ann_file="machine-translate/test_ar_gmt.jsonl", pipeline=test_pipeline), **common),
    bg=dict(dataset=dict(**files, ann_file="machine-translate/test_bg_gmt.jsonl", pipeline=test_pipeline), **common),
    da=dict(dataset=dict(**files, ann_file="machine-translate/test_da_gmt.jsonl", pipeline=test_pipeline), **common),
    el=dict(dataset=dict(**files, ann_file="machine-translate/test_el_gmt.jsonl", pipeline=test_pipeline), **common),
    et=dict(dataset=dict(**files, ann_file="machine-translate/test_et_gmt.jsonl", pipeline=test_pipeline), **common),
    id=dict(dataset=dict(**files, ann_file="machine-translate/test_id_gmt.jsonl", pipeline=test_pipeline), **common),
    ja=dict(dataset=dict(**files, ann_file="machine-translate/test_ja_gmt.jsonl", pipeline=test_pipeline), **common),
    ko=dict(dataset=dict(**files, ann_file="machine-translate/test_ko_gmt.jsonl", pipeline=test_pipeline), **common),
    tr=dict(dataset=dict(**files, ann_file="machine-translate/test_tr_gmt.jsonl", pipeline=test_pipeline), **common),
    vi=dict(dataset=dict(**files, ann_file="machine-translate/test_vi_gmt.jsonl", pipeline=test_pipeline), **common),
)
test_cfg = dict(
    type="EvaluationLoop",
    means={
        "test/t2i_r1": [
            "ar/t2i_r1",
            "bg/t2i_r1",
            "da/t2i_r1",
            "el/t2i_r1",
            "et/t2i_r1",
            "id/t2i_r1",
            "ja/t2i_r1",
            "ko/t2i_r1",
            "tr/t2i_r1",
            "vi/t2i_r1",
        ]
    },
)
