"""The plan of a config's run: parameters, memory, traffic and reading rates, by formula; nothing is built or read."""

from collections.abc import Mapping
from math import ceil
from typing import Any

from x2vlm.planning.activations import activations
from x2vlm.planning.config_shapes import batch_shapes, model_shape, passes_by_turn
from x2vlm.planning.footprint import memory
from x2vlm.planning.model_shapes import BatchShape, parameters
from x2vlm.planning.read_rates import read_rate, seconds_per_record
from x2vlm.planning.traffic import step_traffic


def plan_run(
    cfg: Mapping[str, Any],
    processes: int | None = None,
    precision: str | None = None,
    checkpointing: bool | None = None,
    step_seconds: float = 1.0,
    record_bytes: float = 50_000,
    shard_bytes: float = 512 * 2**20,
) -> dict[str, Any]:
    """All results of the formulas for a config, as JSON-compatible values; memory and traffic in bytes.

    Args:
        cfg: From ``load_config``.
        processes: None: as many as the config's ``global_batch`` needs, or one.
        precision: None: the config's.
        checkpointing: None: the config's.
        step_seconds: Time of a step, from which reading rates follow.
        record_bytes: Mean size of a record.
        shard_bytes: Size of a shard.

    Raises:
        ConfigError: If there is no formula for a component of the config.
    """
    shape, batches = model_shape(cfg), batch_shapes(cfg)
    train = cfg.get("train_cfg") or {}
    processes = processes or processes_for_global_batch(batches, train)
    precision = precision or (cfg.get("optim_wrapper") or {}).get("precision", "fp32")
    if checkpointing is None:
        checkpointing = bool(cfg["model"].get("activation_checkpointing", False))
    turns = passes_by_turn(list(batches), train)
    passes = [names for _, turn in turns for names in turn]
    passes_per_step = sum(share * len(turn) for share, turn in turns)
    counts = parameters(shape)
    epoch_of, steps = _length(batches, train, processes)
    sizes = {epoch_of: train.get("epoch_size")}
    options = {"step_seconds": step_seconds, "record_bytes": record_bytes, "shard_bytes": shard_bytes}
    rates = {
        name: vars(read_rate(batch, sizes.get(name), steps, processes, **options)) for name, batch in batches.items()
    }
    workers = sum((cfg["streams"][name].get("num_workers") or 0) * batch.share for name, batch in batches.items())
    rate = sum(stream["rate"] for stream in rates.values())
    return {
        "parameters": counts | {"total": sum(counts.values())},
        "processes": processes,
        "precision": precision,
        "checkpointing": checkpointing,
        "passes": [list(names) for names in {tuple(names): None for names in passes}],
        "steps": steps,
        "activations": {name: activations(shape, b, checkpointing).bytes(precision) for name, b in batches.items()},
        "memory": {
            "ddp": memory(shape, batches, processes, precision, checkpointing, passes=passes),
            "fsdp": memory(shape, batches, processes, precision, checkpointing, sharded=True, passes=passes),
        },
        "sent_per_step": {
            "ddp": step_traffic(shape, batches, processes).sent(processes, precision),
            "fsdp": step_traffic(shape, batches, processes, True, passes_per_step).sent(processes, precision),
        },
        "reading": rates,
        "step_seconds": step_seconds,
        "worker_seconds_per_record": seconds_per_record(rate, processes, workers) if workers else None,
    }


def processes_for_global_batch(batches: Mapping[str, BatchShape], train: Mapping[str, Any]) -> int:
    """Number of processes with the ``global_batch`` of a config; one where it has none."""
    for name, pairs in (train.get("global_batch") or {}).items():
        if name in batches:
            return max(1, pairs // batches[name].pairs)
    return 1


def _length(batches: Mapping[str, BatchShape], train: Mapping[str, Any], processes: int) -> tuple[str, int]:
    """The stream that counts epochs, and the steps of the run (0 if the config does not state them)."""
    name = train.get("epoch_of") or next(iter(batches))
    if train.get("max_iters"):
        return name, train["max_iters"]
    if train.get("max_epochs") and train.get("epoch_size"):
        return name, train["max_epochs"] * ceil(train["epoch_size"] / (batches[name].contexts * processes))
    return name, 0
