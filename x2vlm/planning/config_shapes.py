"""Shapes of a config's model and batches, and the turns and passes of its steps; nothing is built."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from x2vlm.building import ConfigError, called
from x2vlm.engine.step_plan import split_into_passes
from x2vlm.planning.model_shapes import BatchShape, FusionShape, ModelShape, TextShape, VisionShape

# Encoders that configs name without their sizes. (width, depth, heads, feed-forward, vocabulary, positions, types)
KNOWN_TEXT = {
    "bert-base-uncased": (768, 12, 12, 3072, 30522, 512, 2),
    "bert-large-uncased": (1024, 24, 16, 4096, 30522, 512, 2),
    "roberta-base": (768, 12, 12, 3072, 50265, 514, 1),
    "xlm-roberta-base": (768, 12, 12, 3072, 250002, 514, 1),
    "xlm-roberta-large": (1024, 24, 16, 4096, 250002, 514, 1),
}
OBJECTIVES = ("itc", "itm", "mlm", "bbox")


def model_shape(cfg: Mapping[str, Any]) -> ModelShape:
    """The shape of a config's model.

    Raises:
        ConfigError: If there is no formula for one of its components.
    """
    model = cfg.get("model")
    if model is None:
        raise ConfigError("is missing: this config builds no model.", "model")
    objectives = model.get("objectives") or {}
    if unsupported := [name for name in objectives if name not in OBJECTIVES]:
        raise ConfigError(
            f"there are no formulas for {', '.join(unsupported)}, only for {', '.join(OBJECTIVES)}.", "model"
        )
    vision = _vision_shape(model["vision_encoder"]) if model.get("vision_encoder") else None
    text = _text_shape(model["text_encoder"]) if model.get("text_encoder") else None
    fusion = _fusion_shape(model["fusion_encoder"], vision, text) if model.get("fusion_encoder") else None
    return ModelShape(
        vision,
        text,
        fusion,
        model.get("embed_dim", 256),
        model.get("num_frames", 0),
        tuple(objectives),
        tied=objectives.get("mlm", {}).get("tied", True),
        dropout=(model.get("text_encoder") or {}).get("dropout") != 0,
    )


def batch_shapes(cfg: Mapping[str, Any]) -> dict[str, BatchShape]:
    """Batches of a config's streams by name, without streams of weight 0.

    Raises:
        ConfigError: If there are none.
    """
    streams = {name: stream for name, stream in (cfg.get("streams") or {}).items() if stream.get("weight", 1.0) != 0}
    if not streams:
        raise ConfigError("the config trains nothing, so there is nothing to plan.", "streams")
    turns = ((cfg.get("train_cfg") or {}).get("plan") or {}).get("turns")
    share = stream_shares(list(streams), turns)
    return {name: _batch_shape(stream, cfg["model"], share[name]) for name, stream in streams.items()}


def passes_by_turn(names: Sequence[str], train: Mapping[str, Any]) -> list[tuple[float, list[list[str]]]]:
    """For each turn of a config's ``train_cfg`` its share of the steps, and the streams of each of its passes."""
    plan = train.get("plan") or {}
    turns = []
    for turn in (plan.get("turns") or {"": {"share": 1.0}}).values():
        present = [name for name in names if name in (turn.get("streams") or names)]
        groups = [[name for name in present if name in group] for group in plan.get("updates") or [names]]
        mode = train.get("passes", "together")
        passes = [names for group in groups for names in split_into_passes(group, mode)]
        turns.append((turn.get("share", 0.0), passes))
    return turns


def stream_shares(names: Sequence[str], turns: Mapping[str, Mapping] | None) -> dict[str, float]:
    """Fraction of the steps in which each stream takes part; 1 where there are no turns."""
    if not turns:
        return dict.fromkeys(names, 1.0)
    shares = dict.fromkeys(names, 0.0)
    for turn in turns.values():
        for name in turn.get("streams") or names:
            if name in shares:
                shares[name] += turn.get("share", 0.0)
    return shares


def _batch_shape(stream: Mapping[str, Any], model: Mapping[str, Any], share: float) -> BatchShape:
    steps = {called(step["type"]): step for step in stream["dataset"].get("pipeline") or ()}
    collate = stream.get("collate") or {}
    masking = collate.get("masking", {})
    sentences = "PickPair" in steps
    frames = 0 if sentences or "PickText" in steps else 1
    if "SampleFrames" in steps:
        frames = steps["SampleFrames"].get("num_frames", 3)
    objectives = stream.get("objectives") or tuple(model.get("objectives") or ())
    return BatchShape(
        pairs=stream["batch_size"],
        contexts=(stream.get("max_images") or stream["batch_size"]) if frames or sentences else 0,
        frames=frames,
        tokens=collate.get("max_tokens", 40),
        masks=0 if masking is None else masking.get("max_masks", 12),
        objectives=tuple(objectives),
        sentences=sentences,
        share=share,
    )


def _vision_shape(encoder: Mapping[str, Any]) -> VisionShape:
    _check_type(encoder, "BEiT2", "model.vision_encoder")
    size, patch_size = encoder.get("image_size", 224), encoder.get("patch_size", 16)
    rows, columns = (side // patch_size for side in ((size, size) if isinstance(size, int) else size))
    width = encoder.get("width", 768)
    return VisionShape(width, encoder.get("depth", 12), _num_heads(encoder, width), rows, columns, patch_size)


def _text_shape(encoder: Mapping[str, Any]) -> TextShape:
    _check_type(encoder, "HFTextEncoder", "model.text_encoder")
    path, config = encoder.get("path"), encoder.get("config")
    if path in KNOWN_TEXT:
        shape = TextShape(*KNOWN_TEXT[path])
    else:
        if path is not None and not Path(path).expanduser().is_dir():
            raise ConfigError(
                f"{path} is neither a folder nor one of {', '.join(KNOWN_TEXT)}: its sizes are not known here.",
                "model.text_encoder.path",
            )
        shape = _shape_of_hf_config(path, config)
    return TextShape(**{**vars(shape), "depth": encoder["depth"]}) if encoder.get("depth") else shape


def _shape_of_hf_config(path: str | None, config: Mapping[str, Any] | None) -> TextShape:
    from transformers import AutoConfig  # slow to import

    if path:
        hf_config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    else:
        options = {key: value for key, value in (config or {}).items() if key != "model_type"}
        hf_config = AutoConfig.for_model(config["model_type"], **options)
    return TextShape(
        hf_config.hidden_size,
        hf_config.num_hidden_layers,
        hf_config.num_attention_heads,
        hf_config.intermediate_size,
        hf_config.vocab_size,
        hf_config.max_position_embeddings,
        hf_config.type_vocab_size,
    )


def _fusion_shape(encoder: Mapping[str, Any], vision: VisionShape | None, text: TextShape | None) -> FusionShape:
    _check_type(encoder, "CrossAttentionFusion", "model.fusion_encoder")
    width = encoder.get("width", text.width)
    context_width = encoder.get("context_width", (vision or text).width)
    mlp_width = encoder.get("mlp_width") or 4 * width
    return FusionShape(width, context_width, encoder.get("depth", 6), _num_heads(encoder, width), mlp_width)


def _num_heads(encoder: Mapping[str, Any], width: int) -> int:
    return encoder.get("num_heads") or max(1, width // 64)


def _check_type(encoder: Mapping[str, Any], supported: str, path: str) -> None:
    if called(encoder["type"]) != supported:
        raise ConfigError(f"there are formulas for {supported} only, not for {called(encoder['type'])}.", path)
