"""The data of CCLM: images and regions as for X2-VLM, with captions in any language, and parallel text (WikiMatrix).

Regions are objects of COCO, and objects and regions of Visual Genome. Parallel sentences swap sides at random. The
published regions are not mirrored where a text tells left from right; images are. Paths start from `data_root`.

Raw files in place of these, by data set (docs/public_data.md):

    streams.parallel: ParallelTable(files="WikiMatrix.*.tsv", columns=dict(en=1, de=2), score_column=0, min_score=1.05)
"""

from mmengine.config import read_base

with read_base():
    from .pretrain_4m_data import *

masking = dict(prob=0.4, max_masks=10, whole_word=False, span_prob=0.2, max_span=3)

for stream in (streams.image, streams.region):
    stream.collate.max_tokens = 30
    stream.collate.masking = masking
    stream.dataset.pipeline[1].max_words = 30
    stream.batch_size = 60  # image: records; region: pairs of max_images records
streams.region.dataset.pipeline[2].careful = True
streams.region.max_images = 26  # records (images); batch_size counts pairs
streams.region.dataset.names = streams.region.dataset.names[:3]
streams.region.dataset.images = streams.region.dataset.images[:3]
streams.region.dataset.times = streams.region.dataset.times[:3]
streams.region.dataset.datasets = streams.region.dataset.datasets[:3]

streams.parallel = dict(
    dataset=dict(
        type="ParallelText",
        files="parallel/*.jsonl",
        keys=dict(source="source_text", target="target_text"),
        pipeline=[dict(type="PickPair", max_words=64), dict(type="PackSample")],
    ),
    collate=dict(
        type="PairCollate",
        max_tokens=64,
        masking=dict(prob=0.4, max_masks=16, whole_word=False, span_prob=0.2, max_span=3),
    ),
    batch_size=60,
    objectives=("itc", "itm", "mlm"),
    num_workers=4,
)
