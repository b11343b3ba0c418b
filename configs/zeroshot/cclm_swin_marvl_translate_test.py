"""The published CCLM on MaRVL with its texts translated into English by machine (translate-test).

Nothing is trained: tools/test.py wants a checkpoint that was fine-tuned in English by
configs/finetune/cclm_swin_marvl.py.

Raw files in place of these, by data set (docs/public_data.md):

    *: as published
"""

from mmengine.config import read_base

with read_base():
    from ..base.cclm_swin_model import *
    from ..base.runtime import *
    from ..base.marvl_data import files, common, test_pipeline, objectives, data_root

model.vision_encoder.image_size = 384
model.vision_encoder.window = 12
model.embed_dim = None
model.objectives = objectives
evaluations = dict(
    id=dict(dataset=dict(**files, ann_file="machine-translate/marvl-id_gmt.jsonl"), **common),
    sw=dict(dataset=dict(**files, ann_file="machine-translate/marvl-sw_gmt.jsonl"), **common),
    ta=dict(dataset=dict(**files, ann_file="machine-translate/marvl-ta_gmt.jsonl"), **common),
    tr=dict(dataset=dict(**files, ann_file="machine-translate/marvl-tr_gmt.jsonl"), **common),
    zh=dict(dataset=dict(**files, ann_file="machine-translate/marvl-zh_gmt.jsonl"), **common),
)
test_cfg = dict(
    type="EvaluationLoop",
    means={"test/accuracy": ["id/accuracy", "sw/accuracy", "ta/accuracy", "tr/accuracy", "zh/accuracy"]},
)
