"""``parameters``: how many parameters the models of configs have, part by part, and their names.

Models are built without memory for their weights, so that large ones take seconds. Published: base 86 + 111 + 55 M
(vision, text, fusion; 255 M in all), large 303 + 190 + 95 M (593 M).
"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from x2vlm.config import add_cfg_options, load_config


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
    from x2vlm.models.pretrained.without_weights import tokenizer_as_large, without_weights
    from x2vlm.registry import MODELS

    tokenizer = tokenizer_as_large(cfg.get("tokenizer"))
    with torch.device("meta"):
        return build(MODELS, without_weights(cfg.get("model")), "model", tokenizer=tokenizer)


def parameters_by_part(model: Any) -> Counter[str]:
    """Numbers of parameters: of each tower, each objective, and of what is between them."""
    from x2vlm.weights.load_report import part_of

    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        counts[part_of(name)] += parameter.numel()
    return counts


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="x2vlm parameters", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="config files")
    parser.add_argument("--names", action="store_true", help="list names and shapes instead, as `loading` means them")
    add_cfg_options(parser)
    return parser.parse_args(argv)
