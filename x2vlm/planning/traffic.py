"""Network traffic of a training step, by formula: gradients, contrastive features, FSDP's gathers and scatters.

The tests compare the formulas with what two processes send. ``docs/scale.md`` explains them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from x2vlm.engine.step_plan import split_into_passes
from x2vlm.planning.activations import BYTES, FULL
from x2vlm.planning.model_shapes import BatchShape, ModelShape, layer_parameters, parameters


@dataclass(frozen=True)
class Traffic:
    """Elements that one process passes to the collectives of a step.

    Attributes:
        gradients: To DDP's all-reduce.
        features: To the all-gathers of contrastive features, of all streams.
        feature_gradients: To the all-reduces of their backward passes.
        gathered: Parameters that FSDP all-gathers, over all forward and backward passes.
        scattered: Gradients that FSDP reduce-scatters.
    """

    gradients: float = 0
    features: float = 0
    feature_gradients: float = 0
    gathered: float = 0
    scattered: float = 0

    def sent(self, processes: int, precision: str = "fp32") -> dict[str, float]:
        """Bytes that each process sends in a step with ring collectives, as NCCL and gloo: (W - 1) / W of every ring.

        Args:
            processes: Number of processes W.
            precision: Of the gathered parameters.
        """
        ring = (processes - 1) / processes
        sent = {
            "gradients": 2 * ring * FULL * self.gradients,
            "features": (processes - 1) * FULL * self.features,
            "feature gradients": 2 * ring * FULL * self.feature_gradients,
            "parameters": ring * BYTES[precision] * self.gathered,
            "gradient shards": ring * FULL * self.scattered,
        }
        return {name: number for name, number in sent.items() if number} | {"total": sum(sent.values())}


def step_traffic(
    shape: ModelShape,
    batches: Mapping[str, BatchShape],
    processes: int,
    sharded: bool = False,
    passes: float | None = None,
) -> Traffic:
    """Elements that one process passes to the collectives of a step.

    Gradients are all-reduced once, in the last backward pass. Every stream with ITC all-gathers the features of
    contexts and texts, and all-reduces their gradients. With FSDP every pass all-gathers all parameters, those of
    layers again in the backward pass, and reduce-scatters its gradients.

    Args:
        shape: The model.
        batches: Batches by stream.
        processes: Number of processes W.
        sharded: FSDP instead of DDP.
        passes: Passes in a step, on average over turns; by default videos by themselves and all other streams in one.
    """
    count = sum(parameters(shape).values())
    contrasted = sum(batch.share * batch.pairs for batch in batches.values() if "itc" in batch.objectives)
    features = 2 * contrasted * (shape.embed_dim or 0)
    passes = len(split_into_passes(batches, "together")) if passes is None else passes
    gathered_twice = layer_parameters(shape)
    return Traffic(
        gradients=0 if sharded else count,
        features=features,
        feature_gradients=features * processes,
        gathered=(count + gathered_twice) * passes if sharded else 0,
        scattered=count * passes if sharded else 0,
    )
