"""WIT of IGLUE, learned in English: lines of `image_url`, `image_content`, `caption_reference_description`.

Images are base64, identities their addresses; a file a language. Lines without a description are left out. Published:
80 words and tokens, the 128 nearest ranked again. Paths start from `data_root`.

Raw files in place of these, by data set (docs/public_data.md):

    streams.image: Wit(ann_file="wit_v1.train.all-*.tsv", image_root="wit_images", languages=["en"])
    evaluations.*: as published
"""

from mmengine.config import read_base

with read_base():
    from .xflickrco_data import *

data_root = "data/wit"
keys = dict(image="image_content", caption="caption_reference_description", id="image_url")
files = dict(type="JsonLines", image_format="base64", keys=keys, require=("caption",))
streams.image.dataset = dict(**files, ann_file="train_en.jsonl", pipeline=streams.image.dataset.pipeline)
evaluations = dict(
    val=dict(dataset=dict(**files, ann_file="val_en.jsonl", pipeline=test_pipeline), **common),
    ar=dict(dataset=dict(**files, ann_file="test_ar.jsonl", pipeline=test_pipeline), **common, at_end=True),
    bg=dict(dataset=dict(**files, ann_file="test_bg.jsonl", pipeline=test_pipeline), **common, at_end=True),
    da=dict(dataset=dict(**files, ann_file="test_da.jsonl", pipeline=test_pipeline), **common, at_end=True),
    el=dict(dataset=dict(**files, ann_file="test_el.jsonl", pipeline=test_pipeline), **common, at_end=True),
    en=dict(dataset=dict(**files, ann_file="test_en.jsonl", pipeline=test_pipeline), **common, at_end=True),
    et=dict(dataset=dict(**files, ann_file="test_et.jsonl", pipeline=test_pipeline), **common, at_end=True),
    id=dict(dataset=dict(**files, ann_file="test_id.jsonl", pipeline=test_pipeline), **common, at_end=True),
    ja=dict(dataset=dict(**files, ann_file="test_ja.jsonl", pipeline=test_pipeline), **common, at_end=True),
    ko=dict(dataset=dict(**files, ann_file="test_ko.jsonl", pipeline=test_pipeline), **common, at_end=True),
    tr=dict(dataset=dict(**files, ann_file="test_tr.jsonl", pipeline=test_pipeline), **common, at_end=True),
    vi=dict(dataset=dict(**files, ann_file="test_vi.jsonl", pipeline=test_pipeline), **common, at_end=True),
)
languages = ["ar", "bg", "da", "el", "et", "id", "ja", "ko", "tr", "vi"]
val_cfg = dict(
    type="EvaluationLoop",
    means={
        "test/t2i_r1": [f"{language}/t2i_r1" for language in languages],
        "test/i2t_r1": [f"{language}/i2t_r1" for language in languages],
    },
)
test_cfg = val_cfg
