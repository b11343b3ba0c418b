"""A small model for photographs on a small machine: 6 + 4 + 2 layers of width 192, images of 224 x 224 pixels."""

model = dict(
    type="X2VLM",
    vision_encoder=dict(
        type="TimmVisionEncoder",
        name="vit_tiny_patch16_224",
        image_size=224,
        sincos=True,
        options=dict(depth=6),
    ),
    text_encoder=dict(
        type="HFTextEncoder",
        config=dict(
            model_type="bert",
            hidden_size=192,
            num_hidden_layers=4,
            num_attention_heads=3,
            intermediate_size=768,
            max_position_embeddings=128,
            initializer_range=0.07,  # about 1 / sqrt(width); BERT's 0.02 suits a width of 768
        ),
    ),
    fusion_encoder=dict(type="CrossAttentionFusion", depth=2, num_heads=3, init_std=0.07),
    # Phrases such as "a man" come up again and again; they are true wherever they are said.
    objectives=dict(
        itc=dict(type="ITC", positives="ids_and_texts"),
        itm=dict(type="ITM", positives="ids_and_texts"),
        mlm=dict(type="MLM"),
        bbox=dict(type="BBox", l1_weight=5.0, giou_weight=2.0),
    ),
    embed_dim=128,
)
