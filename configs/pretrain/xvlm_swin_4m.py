"""X-VLM with Swin base on the 4M data (arXiv:2111.08276): 1024 images and 1024 regions a step, 204,795 steps.

A quarter of the tokens is masked, 8 at most; regions are objects of COCO, and objects and regions of Visual Genome,
of 48 images a process, and weigh half. The published checkpoint is the one after 200,000 steps.
"""

from mmengine.config import read_base

with read_base():
    from .x2vlm_base_4m import *
    from ..base.xvlm_swin_model import model

require_pretrained = dict(
    vision_encoder="swin_base_patch4_window7_224_22k.pth of the Swin Transformer release",
    text_encoder="bert-base-uncased of the BERT release",
    fusion_encoder="bert-base-uncased of the BERT release",
)
model.objectives.itc.world = 8
for stream in (streams.image, streams.region):
    stream.collate.masking = dict(prob=0.25, max_masks=8, whole_word=True, span_prob=0.2, max_span=3)
streams.region.max_images = 48
streams.region.weight = 0.5
train_cfg.max_epochs = 41
streams.region.dataset.names = streams.region.dataset.names[:3]
streams.region.dataset.images = streams.region.dataset.images[:3]
streams.region.dataset.times = streams.region.dataset.times[:3]
streams.region.dataset.datasets = streams.region.dataset.datasets[:3]
