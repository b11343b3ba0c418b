"""``parameters``: how many parameters the models of configs have, part by part, and their names.

Models are built without memory for their weights, so that large ones take seconds. Published: base 86 + 111 + 55 M
(vision, text, fusion; 255 M in all), large 303 + 190 + 95 M (593 M).
"""

import argparse
import copy
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from x2vlm.building import ConfigError
from x2vlm.config import add_cfg_options, load_config

# Configurations (as of transformers) of text encoders that configs name without sizes.
_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_ROBERTA = {"max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1}
TEXT_ENCODERS = {
    "bert-base-uncased": {"model_type": "bert", "vocab_size": 30522},
    "bert-large-uncased": {"model_type": "bert", "vocab_size": 30522} | _LARGE,
    "roberta-base": {"model_type": "roberta", "vocab_size": 50265} | _ROBERTA,
    "xlm-roberta-base": {"model_type": "xlm-roberta", "vocab_size": 250002} | _ROBERTA,
    "xlm-roberta-large": {"model_type": "xlm-roberta", "vocab_size": 250002} | _ROBERTA | _LARGE,
}
_SOURCES = ("checkpoint", "init_from", "init_layers")


def main(argv: Sequence[str] | None = None) -> int:
    """Count parameters; returns the exit status."""
    args = _parse(argv)
    for config in args.configs:
        model = empty_model(load_config(config, args.cfg_options))
        if args.names:
            for name, parameter in model.named_parameters():
                sys.stdout.write(f"{name} {'x'.join(map(str, parameter.shape)) or 'a number'}\n")
            continue
        counts = parameters_by_part(model)
        parts_text = ", ".join(f"{part} {count:,}" for part, count in counts.items())
        sys.stdout.write(f"{config}: {sum(counts.values()):,} ({parts_text})\n")
    return 0


def empty_model(cfg: Mapping[str, Any]) -> Any:
    """The model of a config on torch's meta device: names and shapes, no numbers.

    Args:
        cfg: A config with ``model``, and ``tokenizer`` where the vocabulary is its own.

    Raises:
        ConfigError: If it cannot be built.
    """
    import torch

    from x2vlm.building import build
    from x2vlm.registry import MODELS

    tokenizer = tokenizer_as_large(cfg.get("tokenizer"))
    with torch.device("meta"):
        return build(MODELS, without_weights(cfg["model"]), "model", tokenizer=tokenizer)


def without_weights(model: Mapping[str, Any]) -> dict[str, Any]:
    """A model's config with fresh weights everywhere: no file is read."""
    cfg = copy.deepcopy(model.to_dict() if hasattr(model, "to_dict") else dict(model))
    for part in ("vision_encoder", "text_encoder", "fusion_encoder"):
        if cfg.get(part):
            cfg[part] = {key: value for key, value in cfg[part].items() if key not in _SOURCES}
    text = cfg.get("text_encoder")
    if text and text.get("path"):
        text["config"] = _text_config(text.pop("path"))
        if (layers := text.pop("layers", None)) is not None:
            text["config"]["num_hidden_layers"] = len(layers)
    return cfg


def parameters_by_part(model: Any) -> Counter[str]:
    """Numbers of parameters: of each tower, each objective, and of what is between them."""
    from x2vlm.weights.load_report import part_of

    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        counts[part_of(name)] += parameter.numel()
    return counts


def tokenizer_as_large(cfg: Mapping[str, Any] | None) -> Any:
    """The tokenizer of a config, or one of equal size and special tokens for those of a known name."""
    from x2vlm.building import build
    from x2vlm.registry import TOKENIZERS

    path = None if cfg is None else cfg.get("path")
    if path not in TEXT_ENCODERS:
        return None if cfg is None else build(TOKENIZERS, cfg, "tokenizer")
    words = [f"word{i}" for i in range(TEXT_ENCODERS[path]["vocab_size"] - 5)]
    return build(TOKENIZERS, {"type": "BertVocab", "vocab": words}, "tokenizer")


def _text_config(path: str) -> dict[str, Any]:
    if path in TEXT_ENCODERS:
        return dict(TEXT_ENCODERS[path])
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False).to_dict()
    except OSError as error:
        names = ", ".join(TEXT_ENCODERS)
        raise ConfigError(
            f"{path!r} is neither a folder nor one of: {names}. Its sizes are not known.", "model.text_encoder.path"
        ) from error


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="x2vlm parameters", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="config files")
    parser.add_argument("--names", action="store_true", help="list names and shapes instead, as `loading` means them")
    add_cfg_options(parser)
    return parser.parse_args(argv)
