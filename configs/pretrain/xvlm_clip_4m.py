"""X-VLM with CLIP ViT-B/16 on the 4M data; otherwise as with Swin, whose numbers are the published ones."""

from mmengine.config import read_base

with read_base():
    from .xvlm_swin_4m import *
    from ..base.xvlm_clip_model import model

require_pretrained = dict(
    vision_encoder="clip-vit-base-patch16 of the CLIP release",
    text_encoder="bert-base-uncased of the BERT release",
    fusion_encoder="bert-base-uncased of the BERT release",
)
model.objectives.itc.world = 8
