"""Does parallel text help? Captions in English alone, tested in German: with English-German sentences as a stream.

x2vlm make-vocab vocab.txt data/flickr8k/flickr8k_train.jsonl --key captions --key captions_de --key captions_zh
python -m plugins.real_towers.store_features configs/small/cross_lingual.py --views 2 \
    --cfg-options data_root=data/flickr8k
x2vlm ablate configs/small/cross_lingual.py configs/small/cross_lingual_no_parallel.py --seeds 3 \
    --cfg-options data_root=data/flickr8k tokenizer.vocab=vocab.txt

The text encoder begins from nothing, and sees German in the parallel sentences only (`multi30k/train.en` and
`multi30k/train.de`, line by line). Contrast alone: a run takes minutes.
"""

from mmengine.config import read_base

with read_base():
    from .flickr8k_warm_start import *

tokenizer = dict(type="BertVocab", vocab="vocab.txt")
model.text_encoder = dict(
    type="HFTextEncoder",
    config=dict(
        model_type="bert",
        hidden_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=64,
        initializer_range=0.05,
    ),
)
model.vision_encoder.width = 256
model.fusion_encoder = None
model.objectives.pop("itm")
model.objectives.pop("bbox")

streams.pop("region")
streams.image.objectives = ("itc",)
streams.image.batch_size = 64
streams.parallel = dict(
    dataset=dict(
        type="ParallelText",
        files=dict(en="multi30k/train.en", de="multi30k/train.de"),
        pipeline=[dict(type="PickPair", max_words=30), dict(type="PackSample")],
    ),
    collate=dict(type="PairCollate", max_tokens=40, masking=None),
    batch_size=64,
    objectives=("itc",),
)

evaluations.pop("grounding")
retrieval = evaluations.pop("retrieval")
retrieval.metric = dict(type="RetrievalMetric", rerank=False)
evaluations.en = dict(retrieval)
evaluations.de = dict(retrieval, dataset=dict(retrieval.dataset, captions="captions_de", drop_uncaptioned=True))
evaluations.zh = dict(retrieval, dataset=dict(retrieval.dataset, captions="captions_zh", drop_uncaptioned=True))

train_cfg.max_iters = train_cfg.val_interval = 300
param_scheduler = dict(type="WarmupLinear", warmup=0.1)
default_hooks.checkpoint.interval = 300
