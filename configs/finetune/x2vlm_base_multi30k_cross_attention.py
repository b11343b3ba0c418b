"""X2-VLM base on Multi30K as a model in one piece: 12 layers of XLM-R, in whose upper six only cross-attention is kept.

The first variant of the journal version's Table VIII: of an X-VLM's text side, nothing but cross-attention is taken.
The second is `x2vlm_base_multi30k_words`; X2-VLM itself, with three modules, `x2vlm_base_multi30k`.
"""

from mmengine.config import read_base

with read_base():
    from .cclm_base_multi30k import *

model.text_encoder.depth = 6
model.fusion_encoder = dict(type="CrossAttentionFusion", depth=6, init_from="xlm-roberta-base")
loading = dict(skip=("text_encoder", "fusion_encoder.layer.*.attention", "fusion_encoder.layer.*.ffn"))
