"""What a run needs, from formulas: memory of a process, bytes on the wire in a step, records to read in a second.

Everything is arithmetic on the shapes of a model and of its batches. The tests compare each formula with a small run:
optimizer state with what is allocated, traffic with what is sent. ``docs/scale.md`` explains the formulas.

Letters: P parameters, W processes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from x2vlm.engine.step_plan import in_passes
from x2vlm.models.ops.linear_cross_entropy import SCORES
from x2vlm.planning.activations import BYTES, FULL, activations, recomputed
from x2vlm.planning.model_shapes import Load, ModelShape, largest_unit, layer_parameters, parameters


def optimizer_bytes(count: int) -> int:
    """AdamW keeps two numbers of fp32 for each parameter."""
    return 2 * FULL * count


def memory(
    shape: ModelShape,
    loads: Mapping[str, Load],
    processes: int = 1,
    precision: str = "fp32",
    checkpointing: bool = False,
    sharded: bool = False,
    passes: Sequence[Sequence[str]] | None = None,
) -> dict[str, float]:
    """Bytes in each process, by what they are for; ``total`` is their sum.

    Activations are those of the largest pass: of all streams that go forward and backward together.

    Args:
        shape: The model.
        loads: Batches by stream.
        processes: W.
        precision: ``fp32``, ``bf16`` or ``fp16``: of the products; weights stay in fp32.
        checkpointing: See :func:`activations`.
        sharded: FSDP: every process holds 1/W of weights, gradients and optimizer state, and one layer as a whole.
        passes: Names of the streams in each pass; all but videos in one where not given.
    """
    parts = parameters(shape)
    count = sum(parts.values())
    share = processes if sharded else 1
    needed = {
        "weights": FULL * count / share,
        "gradients": FULL * count / share,
        "optimizer": optimizer_bytes(count) / share,
    }
    if sharded:
        unit = largest_unit(shape)
        # The layer at work and the one that is fetched meanwhile; gradients of one, before they are shared out.
        needed["whole layers"] = (2 * BYTES[precision] + FULL) * unit
    else:
        needed["buckets"] = FULL * count if processes > 1 else 0  # in which DDP sends gradients
        needed["cast weights"] = 0 if precision == "fp32" else BYTES[precision] * count
    kept = {
        name: activations(shape, load, checkpointing).bytes(precision)
        + (recomputed(shape, load).bytes(precision) if checkpointing else 0)
        for name, load in loads.items()
    }
    passes = in_passes(loads, "together") if passes is None else passes
    needed["activations"] = max((sum(kept[name] for name in names) for names in passes), default=0)
    needed["scores"] = max((_scores(shape, load, precision) for load in loads.values()), default=0)
    return needed | {"total": sum(needed.values())}


def _scores(shape: ModelShape, load: Load, precision: str) -> float:
    """Bytes of scores of masked words, for guesses that are scored at once: in fp32, and cast for products."""
    words = shape.text.vocab_size if shape.text and "mlm" in load.objectives else 0
    number = min(load.pairs * load.masks * words, max(SCORES, words))
    return number * (FULL + (0 if precision == "fp32" else BYTES[precision]))


@dataclass(frozen=True)
class Wire:
    """Numbers that one process hands to the collectives of a step.

    Attributes:
        gradients: To the all-reduce of DDP.
        features: To the gathers of contrastive features, of all streams.
        feature_gradients: To the all-reduces of their backward passes.
        gathered: Parameters whose shards FSDP gathers, over all forward and backward passes.
        scattered: Gradients that FSDP sums and shares out.
    """

    gradients: float = 0
    features: float = 0
    feature_gradients: float = 0
    gathered: float = 0
    scattered: float = 0

    def sent(self, processes: int, precision: str = "fp32") -> dict[str, float]:
        """Bytes that each process sends in a step, with rings as NCCL and gloo use them: (W - 1) / W of every round."""
        ring = (processes - 1) / processes
        sent = {
            "gradients": 2 * ring * FULL * self.gradients,
            "features": (processes - 1) * FULL * self.features,
            "feature gradients": 2 * ring * FULL * self.feature_gradients,
            "parameters": ring * BYTES[precision] * self.gathered,
            "gradient shards": ring * FULL * self.scattered,
        }
        return {name: number for name, number in sent.items() if number} | {"total": sum(sent.values())}


def wire(
    shape: ModelShape, loads: Mapping[str, Load], processes: int, sharded: bool = False, passes: float | None = None
) -> Wire:
    """What one process hands to the collectives of a step.

    Gradients are exchanged once, in the last backward pass. Every stream with ITC gathers the features of contexts and
    texts, and their gradients come back summed over all processes. With FSDP every pass gathers all parameters, and
    those of layers again backwards, and shares its gradients out.

    Args:
        shape: The model.
        loads: Batches by stream.
        processes: W.
        sharded: FSDP, not DDP.
        passes: Passes in a step, on average where steps take turns; all streams but videos go in one where not given.
    """
    count = sum(parameters(shape).values())
    contrast = sum(load.share * load.pairs for load in loads.values() if "itc" in load.objectives)
    features = 2 * contrast * (shape.embed_dim or 0)
    passes = len(in_passes(loads, "together")) if passes is None else passes
    twice = layer_parameters(shape)
    return Wire(
        gradients=0 if sharded else count,
        features=features,
        feature_gradients=features * processes,
        gathered=(count + twice) * passes if sharded else 0,
        scattered=count * passes if sharded else 0,
    )


@dataclass(frozen=True)
class Reading:
    """What a stream reads.

    Attributes:
        records: Records a step, over all processes.
        rate: Records a second.
        megabytes: Megabytes (10^6 bytes) a second, over all processes.
        shards: Tar files that the data set makes; None where its size is not known.
        passes: How often the run goes through the data set; None likewise.
    """

    records: float
    rate: float
    megabytes: float
    shards: int | None
    passes: float | None


def reading(
    load: Load,
    size: int | None,
    steps: int,
    processes: int,
    step_seconds: float,
    record_bytes: float,
    shard_bytes: float,
) -> Reading:
    """What a stream over ``size`` records reads in a run of ``steps`` steps."""
    records = (load.contexts or load.pairs) * processes * load.share
    rate = records / step_seconds
    shards = None if size is None else ceil(size * record_bytes / shard_bytes)
    passes = None if size is None else records * steps / size
    return Reading(records, rate, rate * record_bytes / 1e6, shards, passes)


def read_seconds(rate: float, processes: int, workers: int) -> float:
    """Time that a worker may take for one record so that nobody waits."""
    return processes * workers / rate


def passes_by_turn(names: Sequence[str], train: Mapping[str, Any]) -> list[tuple[float, list[list[str]]]]:
    """For each turn of a config's ``train_cfg`` its share of the steps, and which streams go together in its passes."""
    plan = train.get("plan") or {}
    found = []
    for turn in (plan.get("turns") or {"": {"share": 1.0}}).values():
        present = [name for name in names if name in (turn.get("streams") or names)]
        groups = [[name for name in present if name in group] for group in plan.get("updates") or [names]]
        in_turn = [one for group in groups for one in in_passes(group, train.get("passes", "together"))]
        found.append((turn.get("share", 0.0), in_turn))
    return found


def shares(names: Sequence[str], turns: Mapping[str, Mapping] | None) -> dict[str, float]:
    """In how large a share of the steps each stream takes part, where steps take turns."""
    if not turns:
        return dict.fromkeys(names, 1.0)
    found = dict.fromkeys(names, 0.0)
    for turn in turns.values():
        for name in turn.get("streams") or names:
            if name in found:
                found[name] += turn.get("share", 0.0)
    return found
