"""Synthetic images with human sentences and exact boxes, from nothing, on two cores.

x2vlm make-vocab nlvr_vocab.txt data/nlvr_v1/dev.jsonl --key sentence
python tools/train.py configs/pretrain/nlvr_tiny.py --cfg-options data_root=data/nlvr_v1 tokenizer.vocab=nlvr_vocab.txt
"""

from mmengine.config import read_base

with read_base():
    from ..base.adamw import *
    from ..base.nlvr_data import *
    from ..base.runtime import *
    from ..base.tiny_model import *

tokenizer = dict(type="BertVocab", vocab="nlvr_vocab.txt")
model.vision_encoder.image_size = (48, 192)
model.num_frames = 0
train_cfg = dict(type="MixedTrainLoop", max_iters=1500, val_interval=500)
optim_wrapper.optimizer.lr = 1e-3
default_hooks.checkpoint.interval = 500
