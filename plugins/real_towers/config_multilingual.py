"""Flickr8k with captions in English, German and Chinese: one model, real weights for the images, texts from nothing.

x2vlm make-vocab vocab.txt data/flickr8k/flickr8k_train.jsonl --key captions --key captions_de --key captions_zh
python tools/train.py plugins/real_towers/config_multilingual.py --cfg-options data_root=data/flickr8k
"""

from mmengine.config import read_base

with read_base():
    from .config_flickr8k import *

tokenizer = dict(type="BertVocab", vocab="vocab.txt")
model.text_encoder = dict(
    type="HFTextEncoder",
    config=dict(
        model_type="bert",
        hidden_size=384,
        num_hidden_layers=3,
        num_attention_heads=6,
        intermediate_size=768,
        max_position_embeddings=64,
        initializer_range=0.05,
    ),
)

# Each photograph with a caption of any of the three languages.
languages = dict(en="captions", de="captions_de", zh="captions_zh")
streams.pop("region")
for unused in ("itm", "mlm", "bbox"):
    model.objectives.pop(unused)
streams.image.dataset.captions = languages
streams.image.objectives = ("itc",)  # matching would take longer than an hour to begin to help
streams.image.collate.masking = None
streams.image.batch_size = 64

evaluations.pop("grounding")
retrieval = evaluations.pop("retrieval")
retrieval.metric.rerank = False
evaluations.en = dict(retrieval)
evaluations.de = dict(retrieval, dataset=dict(retrieval.dataset, captions="captions_de", drop_uncaptioned=True))
evaluations.zh = dict(retrieval, dataset=dict(retrieval.dataset, captions="captions_zh", drop_uncaptioned=True))

# The text encoder knows nothing yet: it learns as fast as whatever is new.
train_cfg.max_iters = train_cfg.val_interval = 320
optim_wrapper.optimizer.lr = 1e-4
optim_wrapper.paramwise_cfg.lr_mult = 5
default_hooks.checkpoint.interval = 80
