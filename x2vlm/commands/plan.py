"""``plan``: parameters, memory, traffic and reading rates of a config's run, from formulas; nothing is built or read.

docs/scale.md says what the formulas are and how far they were checked.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from x2vlm.building import ConfigError, called
from x2vlm.config import add_cfg_options, load_config
from x2vlm.planning.activations import BYTES, activations
from x2vlm.planning.footprint import memory, passes_by_turn, read_seconds, reading, shares, wire
from x2vlm.planning.model_shapes import FusionShape, Load, ModelShape, TextShape, VisionShape, parameters

# Encoders that configs name without saying their sizes. (width, depth, heads, feed-forward, words, positions, types)
KNOWN_TEXT = {
    "bert-base-uncased": (768, 12, 12, 3072, 30522, 512, 2),
    "bert-large-uncased": (1024, 24, 16, 4096, 30522, 512, 2),
    "roberta-base": (768, 12, 12, 3072, 50265, 514, 1),
    "xlm-roberta-base": (768, 12, 12, 3072, 250002, 514, 1),
    "xlm-roberta-large": (1024, 24, 16, 4096, 250002, 514, 1),
}
OBJECTIVES = ("itc", "itm", "mlm", "bbox")

_GIB, _MIB = 2**30, 2**20


def main(argv: Sequence[str] | None = None) -> int:
    """Plan a run."""
    args = _parse(argv)
    cfg = load_config(args.config, args.cfg_options)
    report = plan(
        cfg,
        processes=args.processes,
        precision=args.precision,
        checkpointing=args.checkpointing,
        step_seconds=args.step_seconds,
        record_bytes=args.record_kb * 1000,
        shard_bytes=args.shard_mib * _MIB,
    )
    sys.stdout.write(json.dumps(report, indent=2) + "\n" if args.json else told(args.config, report))
    return 0


def plan(
    cfg: Mapping[str, Any],
    processes: int | None = None,
    precision: str | None = None,
    checkpointing: bool | None = None,
    step_seconds: float = 1.0,
    record_bytes: float = 50_000,
    shard_bytes: float = 512 * _MIB,
) -> dict[str, Any]:
    """Everything the formulas say about a config.

    Args:
        cfg: As ``load_config`` gives it.
        processes: None: what the config's ``global_batch`` asks for, or one.
        precision: None: the config's.
        checkpointing: None: the config's.
        step_seconds: Time of a step, from which reading rates follow.
        record_bytes: Mean size of a record.
        shard_bytes: Size of a shard.

    Raises:
        ConfigError: If there is no formula for a part of the config.
    """
    shape = shape_of(cfg)
    train = cfg.get("train_cfg") or {}
    loads = loads_of(cfg)
    processes = processes or asked_processes(loads, train)
    precision = precision or (cfg.get("optim_wrapper") or {}).get("precision", "fp32")
    if checkpointing is None:
        checkpointing = bool(cfg["model"].get("activation_checkpointing", False))
    turns = passes_by_turn(list(loads), train)
    together = [names for _, passes in turns for names in passes]
    number = sum(share * len(passes) for share, passes in turns)
    parts = parameters(shape)
    epoch_of, steps = _length(loads, train, processes)
    size = train.get("epoch_size")
    records = {
        name: vars(
            reading(load, size if name == epoch_of else None, steps, processes, step_seconds, record_bytes, shard_bytes)
        )
        for name, load in loads.items()
    }
    rate = sum(one["rate"] for one in records.values())
    workers = sum((cfg["streams"][name].get("num_workers") or 0) * load.share for name, load in loads.items())
    return {
        "parameters": parts | {"total": sum(parts.values())},
        "processes": processes,
        "precision": precision,
        "checkpointing": checkpointing,
        "passes": [list(names) for names in {tuple(names): None for names in together}],
        "steps": steps,
        "activations": {name: activations(shape, load, checkpointing).bytes(precision) for name, load in loads.items()},
        "memory": {
            "ddp": memory(shape, loads, processes, precision, checkpointing, passes=together),
            "fsdp": memory(shape, loads, processes, precision, checkpointing, sharded=True, passes=together),
        },
        "sent_per_step": {
            "ddp": wire(shape, loads, processes).sent(processes, precision),
            "fsdp": wire(shape, loads, processes, sharded=True, passes=number).sent(processes, precision),
        },
        "reading": records,
        "step_seconds": step_seconds,
        "worker_seconds_per_record": read_seconds(rate, processes, workers) if workers else None,
    }


def shape_of(cfg: Mapping[str, Any]) -> ModelShape:
    """The shape of a config's model.

    Raises:
        ConfigError: If there is no formula for one of its parts.
    """
    model = cfg["model"]
    vision = text = fusion = None
    dropout = True
    if part := model.get("vision_encoder"):
        _check_type(part, "BEiT2", "model.vision_encoder")
        size, patch = part.get("image_size", 224), part.get("patch_size", 16)
        rows, columns = (one // patch for one in ((size, size) if isinstance(size, int) else size))
        width = part.get("width", 768)
        vision = VisionShape(width, part.get("depth", 12), _heads(part, width), rows, columns, patch)
    if part := model.get("text_encoder"):
        _check_type(part, "HFTextEncoder", "model.text_encoder")
        text = _text_shape(part)
        dropout = part.get("dropout") != 0
    if part := model.get("fusion_encoder"):
        _check_type(part, "CrossAttentionFusion", "model.fusion_encoder")
        width = part.get("width", text.width)
        fusion = FusionShape(
            width,
            part.get("context_width", (vision or text).width),
            part.get("depth", 6),
            _heads(part, width),
            part.get("mlp_width") or 4 * width,
        )
    objectives = model.get("objectives") or {}
    if strange := [name for name in objectives if name not in OBJECTIVES]:
        raise ConfigError(f"there are no formulas for {', '.join(strange)}, only for {', '.join(OBJECTIVES)}.", "model")
    return ModelShape(
        vision,
        text,
        fusion,
        model.get("embed_dim", 256),
        model.get("num_frames", 0),
        tuple(objectives),
        tied=objectives.get("mlm", {}).get("tied", True),
        dropout=dropout,
    )


def loads_of(cfg: Mapping[str, Any]) -> dict[str, Load]:
    """The batches of a config's streams; those of weight 0 are left out."""
    streams = {name: one for name, one in (cfg.get("streams") or {}).items() if one.get("weight", 1.0) != 0}
    if not streams:
        raise ConfigError("the config trains nothing, so there is nothing to plan.", "streams")
    turns = ((cfg.get("train_cfg") or {}).get("plan") or {}).get("turns")
    share = shares(list(streams), turns)
    return {name: _load(one, cfg["model"], share[name]) for name, one in streams.items()}


def _load(stream: Mapping[str, Any], model: Mapping[str, Any], share: float) -> Load:
    steps = {called(step["type"]): step for step in stream["dataset"].get("pipeline") or ()}
    collate = stream.get("collate") or {}
    masking = collate.get("masking", {})
    sentences = "PickPair" in steps
    frames = 0 if sentences or "PickText" in steps else 1
    if "SampleFrames" in steps:
        frames = steps["SampleFrames"].get("num_frames", 3)
    objectives = stream.get("objectives") or tuple(model.get("objectives") or ())
    return Load(
        pairs=stream["batch_size"],
        contexts=(stream.get("max_images") or stream["batch_size"]) if frames or sentences else 0,
        frames=frames,
        tokens=collate.get("max_tokens", 40),
        masks=0 if masking is None else masking.get("max_masks", 12),
        objectives=tuple(objectives),
        sentences=sentences,
        share=share,
    )


def asked_processes(loads: Mapping[str, Load], train: Mapping[str, Any]) -> int:
    """Processes that give the ``global_batch`` of a config; one where it has none."""
    for name, pairs in (train.get("global_batch") or {}).items():
        if name in loads:
            return max(1, pairs // loads[name].pairs)
    return 1


def _length(loads: Mapping[str, Load], train: Mapping[str, Any], processes: int) -> tuple[str, int]:
    """The stream that counts epochs, and the steps of the run (0 if the config does not say)."""
    name = train.get("epoch_of") or next(iter(loads))
    if train.get("max_iters"):
        return name, train["max_iters"]
    if train.get("max_epochs") and train.get("epoch_size"):
        return name, train["max_epochs"] * ceil(train["epoch_size"] / (loads[name].contexts * processes))
    return name, 0


def _text_shape(part: Mapping[str, Any]) -> TextShape:
    path, config = part.get("path"), part.get("config")
    if path in KNOWN_TEXT:
        shape = TextShape(*KNOWN_TEXT[path])
    else:
        if path is not None and not Path(path).expanduser().is_dir():
            raise ConfigError(
                f"{path} is neither a folder nor one of {', '.join(KNOWN_TEXT)}: its sizes are not known here.",
                "model.text_encoder.path",
            )
        from transformers import AutoConfig  # slow to import

        given = {key: value for key, value in (config or {}).items() if key != "model_type"}
        known = (
            AutoConfig.from_pretrained(path, trust_remote_code=False)
            if path
            else AutoConfig.for_model(config["model_type"], **given)
        )
        shape = TextShape(
            known.hidden_size,
            known.num_hidden_layers,
            known.num_attention_heads,
            known.intermediate_size,
            known.vocab_size,
            known.max_position_embeddings,
            known.type_vocab_size,
        )
    return TextShape(**{**vars(shape), "depth": part["depth"]}) if part.get("depth") else shape


def _heads(part: Mapping[str, Any], width: int) -> int:
    return part.get("num_heads") or max(1, width // 64)


def _check_type(part: Mapping[str, Any], wanted: str, path: str) -> None:
    if called(part["type"]) != wanted:
        raise ConfigError(f"there are formulas for {wanted} only, not for {called(part['type'])}.", path)


def told(name: str, report: Mapping[str, Any]) -> str:
    """A report in words and tables."""
    recomputed = ", layers recomputed" if report["checkpointing"] else ""
    lines = [f"{name}: {report['processes']} processes, {report['precision']}{recomputed}, {report['steps']:,} steps"]
    lines.append("parameters (millions)")
    lines += [f"  {part:<20}{number / 1e6:>10.1f}" for part, number in report["parameters"].items()]
    lines.append("activations of a stream (GiB in each process)")
    lines += [f"  {stream:<20}{number / _GIB:>10.2f}" for stream, number in report["activations"].items()]
    lines.append(f"streams that go together: {'; '.join(', '.join(names) for names in report['passes'])}")
    for title, key, unit in (
        ("memory (GiB in each process)", "memory", _GIB),
        ("sent in a step (MiB by each process)", "sent_per_step", _MIB),
    ):
        lines.append(f"{title:<42}{'DDP':>10}{'FSDP':>10}")
        names = list(dict.fromkeys([*report[key]["ddp"], *report[key]["fsdp"]]))
        for what in [*(one for one in names if one != "total"), "total"]:
            numbers = (report[key][way].get(what) for way in ("ddp", "fsdp"))
            shown = (f"{number / unit:>10.2f}" if number else f"{'-':>10}" for number in numbers)
            lines.append(f"  {what:<40}{''.join(shown)}")
    lines.append(f"reading, at {report['step_seconds']:g} s a step")
    lines.append(f"  {'':<20}{'records/step':>14}{'records/s':>12}{'MB/s':>8}{'shards':>10}{'passes':>8}")
    for stream, one in report["reading"].items():
        shards = "-" if one["shards"] is None else f"{one['shards']:,}"
        passes = "-" if one["passes"] is None else f"{one['passes']:.1f}"
        numbers = f"{one['records']:>14,.0f}{one['rate']:>12,.0f}{one['megabytes']:>8,.0f}"
        lines.append(f"  {stream:<20}{numbers}{shards:>10}{passes:>8}")
    if report["worker_seconds_per_record"]:
        milliseconds = report["worker_seconds_per_record"] * 1000
        lines.append(f"  a worker has {milliseconds:.0f} ms for a record before anybody waits for it")
    return "\n".join(lines) + "\n"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="x2vlm plan", description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("--processes", type=int, help="(default: what the config's global_batch asks for, or 1)")
    parser.add_argument("--precision", choices=tuple(BYTES), help="(default: the config's)")
    parser.add_argument(
        "--checkpointing",
        action=argparse.BooleanOptionalAction,
        help="recompute activations (default: what the config says)",
    )
    parser.add_argument("--step-seconds", type=float, default=1.0, help="time of a step, measured (default: 1)")
    parser.add_argument("--record-kb", type=float, default=50, help="kilobytes of a record (default: 50)")
    parser.add_argument("--shard-mib", type=float, default=512, help="MiB of a shard (default: 512)")
    parser.add_argument("--json", action="store_true", help="for programs: one object, in bytes")
    add_cfg_options(parser)
    return parser.parse_args(argv)
