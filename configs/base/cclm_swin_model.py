"""The published CCLM (arXiv:2206.00621): Swin base, and 6 text and 6 fusion layers out of XLM-R large.

Every other layer of the 24 counts (1, 3, ..., 23); the lower six encode texts, the upper six fuse. The masked-word head
is that of XLM-R, tied to its words. All widths are 1024, so a sentence can take the place of an image.
"""

layers = list(range(1, 24, 2))
model = dict(
    type="X2VLM",
    vision_encoder=dict(type="Swin", image_size=224, window=7),
    text_encoder=dict(type="HFTextEncoder", path="xlm-roberta-large", layers=layers, depth=6),
    fusion_encoder=dict(
        type="CrossAttentionFusion", depth=6, layer_norm_eps=1e-5, init_from="xlm-roberta-large", init_layers=layers
    ),
    objectives=dict(
        itc=dict(type="ITC", positives="pairs", grad="official"),
        itm=dict(type="ITM", positives="pairs"),
        mlm=dict(type="MLM", layer_norm_eps=1e-5),
        bbox=dict(type="BBox"),
    ),
    embed_dim=256,
    temperature=0.07,
)
tokenizer = dict(type="HFTokenizer", path="xlm-roberta-large")
