"""``convert-checkpoint``: between published checkpoints, ours, and a folder that ``from_pretrained`` reads."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from x2vlm.commands.shared.outcome import Outcome
from x2vlm.config import add_cfg_options, load_config


def main(argv: Sequence[str] | None = None) -> int:
    """Convert a checkpoint; returns the exit status.

    0: done. 2: the file, the config or the names are wrong; nothing was written then.
    """
    args = _parse(argv)
    outcome = Outcome()
    report = outcome.prepare(lambda: convert(args))
    if report is not None:
        sys.stdout.write(f"{report}\n")
    return outcome.status


def convert(args: argparse.Namespace) -> str:
    """Read, convert, write; returns the report."""
    from x2vlm.building import ConfigError
    from x2vlm.data.io.paths import check_output_folder
    from x2vlm.weights.read_weights import read_tensors

    check_output_folder(Path(args.target).parent, "target")
    if Path(args.target).is_file():
        raise ConfigError(f"{args.target} is there already and is not written over. Remove it, or name another file.")
    tensors = read_tensors(args.source)
    if args.config is not None:
        return _through_model(args, tensors)
    if args.to == "folder":
        raise ConfigError("a folder holds the model's config too: give it with --config CONFIG.")
    return _by_names(args, tensors)


def _by_names(args: argparse.Namespace, tensors: dict[str, Any]) -> str:
    """Convert names only; no tensor is resized or dropped."""
    from x2vlm.weights.kind_detection import guess_kind, is_published
    from x2vlm.weights.published_names import UNUSED
    from x2vlm.weights.published_state import from_published, to_published, unknown_names

    kind = args.kind or guess_kind(tensors)
    if args.to == "ours":
        converted = from_published(tensors, kind=kind) if is_published(tensors) else tensors
        unused = [name for name in converted if name.startswith(UNUSED)]
        notes = f", {len(unused)} of them kept only for the way back" if unused else ""
        if unconverted := unknown_names(converted):
            notes += f", {len(unconverted)} that no rule knows, under the names they had: {', '.join(unconverted[:5])}"
    else:
        converted, notes = to_published(tensors, kind) if not is_published(tensors) else tensors, ""
    write(args.target, converted, wrapper="state_dict" if args.to == "ours" else "model")
    names = "the published" if args.to == "published" else "our"
    return f"{args.target}: {len(converted)} tensors of {kind or 'a model'} under {names} names{notes}."


def _through_model(args: argparse.Namespace, tensors: dict[str, Any]) -> str:
    """Convert through the model of a config: resized, copied and checked, as training with that config loads it."""
    from x2vlm.building import build
    from x2vlm.inference.preprocessing import preprocessing_of_config
    from x2vlm.registry import MODELS, TOKENIZERS
    from x2vlm.weights.load_weights import Loading, load_into
    from x2vlm.weights.published_state import to_published

    cfg = load_config(args.config, args.cfg_options)
    tokenizer = build(TOKENIZERS, cfg.tokenizer, "tokenizer") if cfg.get("tokenizer") else None
    model = build(MODELS, cfg.model, "model", tokenizer=tokenizer)
    loading = dict(cfg.get("loading") or {}) | ({"kind": args.kind} if args.kind else {})
    report = load_into(model, tensors, Loading(**loading))
    report.source = args.source
    if args.to == "folder":
        model.preprocessing = preprocessing_of_config(cfg, model).to_dict()
        model.save_pretrained(args.target)
    elif args.to == "ours":
        write(args.target, model.state_dict(), wrapper="state_dict")
    else:
        write(args.target, to_published(model.state_dict(), args.kind), wrapper="model")
    return f"{report}\nwritten to {args.target}"


def write(path: str, tensors: dict[str, Any], wrapper: str) -> None:
    """Safetensors where the name says so, else a plain file of torch with the dict under ``wrapper``."""
    import torch

    from x2vlm.weights.read_weights import write_tensors

    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".safetensors":
        write_tensors(target, tensors)
        return
    part = target.with_name(f"{target.name}.part")
    torch.save({wrapper: {name: value.detach().cpu() for name, value in tensors.items()}}, part)
    part.replace(target)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="x2vlm convert-checkpoint", description=__doc__)
    parser.add_argument("source", metavar="SRC", help="checkpoint: a file, or a folder with model.safetensors")
    parser.add_argument("target", metavar="DST", help="file to write (.safetensors, or .pth), or a folder")
    parser.add_argument(
        "--to",
        choices=("ours", "published", "folder"),
        default="ours",
        help="whose names; 'folder' writes config, weights and tokenizer for from_pretrained (default: ours)",
    )
    parser.add_argument("--kind", help="published class, e.g. XVLMForRetrieval (default: detected from the names)")
    parser.add_argument("--config", help="convert into this config's model: tables resized, parts checked")
    add_cfg_options(parser)
    return parser.parse_args(argv)
