"""Memory of a training process, by formula: weights, gradients, optimizer state, activations, with DDP or FSDP.

The tests compare the optimizer state with what is allocated. ``docs/scale.md`` explains the formulas.
"""

from collections.abc import Mapping, Sequence

from x2vlm.engine.step_plan import split_into_passes
from x2vlm.models.autograd.linear_cross_entropy import SCORES
from x2vlm.planning.activations import BYTES, FULL, activations, recomputed
from x2vlm.planning.model_shapes import BatchShape, ModelShape, largest_unit, parameters


def optimizer_bytes(count: int) -> int:
    """State of AdamW: two fp32 moments for each parameter."""
    return 2 * FULL * count


def memory(
    shape: ModelShape,
    batches: Mapping[str, BatchShape],
    processes: int = 1,
    precision: str = "fp32",
    checkpointing: bool = False,
    sharded: bool = False,
    passes: Sequence[Sequence[str]] | None = None,
) -> dict[str, float]:
    """Bytes in each process, by purpose; ``total`` is their sum.

    Activations are those of the largest pass, over all streams that go forward and backward together.

    Args:
        shape: The model.
        batches: Batches by stream.
        processes: Number of processes W.
        precision: Autocast: ``fp32``, ``bf16`` or ``fp16``; weights stay in fp32.
        checkpointing: Activation checkpointing.
        sharded: FSDP: every process holds 1/W of weights, gradients and optimizer state, and one layer in full.
        passes: Names of the streams in each pass; by default videos by themselves and all other streams in one.
    """
    count = sum(parameters(shape).values())
    shards = processes if sharded else 1
    needed = {
        "weights": FULL * count / shards,
        "gradients": FULL * count / shards,
        "optimizer": optimizer_bytes(count) / shards,
    }
    if sharded:
        # Weights of the current and of the prefetched unit; gradients of one, before the reduce-scatter.
        needed["whole layers"] = (2 * BYTES[precision] + FULL) * largest_unit(shape)
    else:
        needed["buckets"] = FULL * count if processes > 1 else 0  # of DDP's all-reduce
        needed["cast weights"] = 0 if precision == "fp32" else BYTES[precision] * count
    saved = {
        name: activations(shape, batch, checkpointing).bytes(precision)
        + (recomputed(shape, batch).bytes(precision) if checkpointing else 0)
        for name, batch in batches.items()
    }
    passes = split_into_passes(batches, "together") if passes is None else passes
    needed["activations"] = max((sum(saved[name] for name in names) for names in passes), default=0)
    needed["scores"] = max((_logits(shape, batch, precision) for batch in batches.values()), default=0)
    return needed | {"total": sum(needed.values())}


def _logits(shape: ModelShape, batch: BatchShape, precision: str) -> float:
    """Bytes of the MLM logits of one chunk of the linear cross-entropy: in fp32, and cast for matrix products."""
    vocab = shape.text.vocab_size if shape.text and "mlm" in batch.objectives else 0
    elements = min(batch.pairs * batch.masks * vocab, max(SCORES, vocab))
    return elements * (FULL + (0 if precision == "fp32" else BYTES[precision]))
