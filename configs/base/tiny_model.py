"""The smallest model that learns to match and to point: 3 + 1 + 2 layers of width 96, images of 64 x 64 pixels."""

model = dict(
    type="X2VLM",
    vision_encoder=dict(
        type="TimmVisionEncoder",
        name="vit_tiny_patch16_224",
        image_size=64,
        sincos=True,
        options=dict(patch_size=8, embed_dim=96, depth=3, num_heads=3),
    ),
    text_encoder=dict(
        type="HFTextEncoder",
        config=dict(
            model_type="bert",
            hidden_size=96,
            num_hidden_layers=1,
            num_attention_heads=3,
            intermediate_size=384,
            max_position_embeddings=64,
            initializer_range=0.1,  # about 1 / sqrt(width); BERT's 0.02 suits a width of 768
        ),
        dropout=0.0,
    ),
    fusion_encoder=dict(type="CrossAttentionFusion", depth=2, num_heads=3, dropout=0.0, init_std=0.1),
    # Few words make the same phrase come up twice in a batch: a phrase is then true of both things.
    objectives=dict(
        itc=dict(type="ITC", positives="ids_and_texts"),
        itm=dict(type="ITM", positives="ids_and_texts"),
        mlm=dict(type="MLM"),
        bbox=dict(type="BBox", l1_weight=12.0, giou_weight=5.0),  # pointing is learned within minutes then
    ),
    embed_dim=64,
    num_frames=3,
)
