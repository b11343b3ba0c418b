"""``flops``: parameters of a config's model, and multiply-adds of one forward pass, part by part.

Counted by fvcore, with a handle for attention: matrix products, convolutions and attention, a multiply-add as one, on a
model with fresh weights. A backward pass takes twice as much.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from x2vlm.config import add_cfg_options, load_config


def main(argv: Sequence[str] | None = None) -> int:
    """Count; returns the exit status."""
    args = _parse(argv)
    from x2vlm.benchmark.flop_counts import Amount, flops_by_part
    from x2vlm.building import build
    from x2vlm.commands.parameters import parameters_by_part
    from x2vlm.models.pretrained.without_weights import tokenizer_as_large, without_weights
    from x2vlm.registry import MODELS

    cfg = load_config(args.config, args.cfg_options)
    tokenizer = tokenizer_as_large(cfg.get("tokenizer"))
    model = build(MODELS, without_weights(cfg.get("model")), "model", tokenizer=tokenizer)
    amount = Amount(args.pairs, args.images, args.tokens, args.masks)
    flops, sizes = flops_by_part(model, amount), parameters_by_part(model)
    if args.json:
        sys.stdout.write(json.dumps({"multiply_adds": flops, "parameters": sizes, "amount": vars(amount)}) + "\n")
        return 0
    sys.stdout.write(
        f"{args.config}: {args.pairs} texts of {args.tokens} tokens with {args.images} images, forward, once\n"
    )
    for name in [*sizes, *(part for part in flops if part not in sizes)]:
        text = f"{flops[name] / 1e9:12.2f} G multiply-adds" if name in flops else ""
        sys.stdout.write(f"  {name:<24}{sizes[name] / 1e6:10.2f} M parameters{text}\n")
    total = f"{sum(sizes.values()) / 1e6:10.2f} M parameters{sum(flops.values()) / 1e9:12.2f} G multiply-adds"
    sys.stdout.write(f"  {'all':<24}{total}\n")
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="x2vlm flops", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config file")
    parser.add_argument("--pairs", type=int, default=1, metavar="N", help="texts, each with an image (default: 1)")
    parser.add_argument("--images", type=int, default=1, metavar="N", help="distinct images (default: 1)")
    parser.add_argument("--tokens", type=int, default=12, metavar="N", help="of a text (default: 12)")
    parser.add_argument("--masks", type=int, default=6, metavar="N", help="masked tokens of a text (default: 6)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    add_cfg_options(parser)
    return parser.parse_args(argv)
