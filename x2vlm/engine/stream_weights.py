"""Stream weights: the factor of every loss, from the weight of its stream and that of the objective in the stream."""

from collections.abc import Mapping
from typing import Any


def apply_stream_weights(update: Mapping[str, Any], weights: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Factor of the loss of every objective of every stream.

    The model multiplies the losses by it and by the objective's own weight (``X2VLM.forward``), in one place.

    Args:
        update: By stream: names of objectives, or a factor of the loss for each name.
        weights: Of the streams (``streams.NAME.weight``).
    """
    return {
        stream: {
            name: weights[stream] * (objectives[name] if isinstance(objectives, Mapping) else 1.0)
            for name in objectives
        }
        for stream, objectives in update.items()
    }
