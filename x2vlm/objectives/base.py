"""What an objective is: what it needs of a batch, what it wants read, and the losses of what was read.

A training step has three phases (:meth:`x2vlm.models.x2vlm.X2VLM.forward`). The towers encode what the ``needs`` of all
objectives name. Each objective gives ``requests``: which texts are to be read with which contexts, and which states it
wants. All requests of all objectives and streams are read in one pass. Each objective gives ``losses`` of its states.
So an objective holds a head and two functions of what they are given; it knows neither the encoders nor the stream.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from x2vlm.models.fusion.requests import FusedStates, FusionRequest
from x2vlm.models.needs import Needs
from x2vlm.models.outputs import EncodedBatch


class Objective(nn.Module):
    """Base of all objectives.

    Attributes:
        needs: What it reads of a batch, as data. A stream that does not have it is refused with a sentence.
        weight: Factor of its losses, beside that of the stream and of the stream's config; applied by the model.
    """

    needs: Needs = Needs()
    weight: float = 1.0

    def requests(self, encoded: EncodedBatch) -> Sequence[FusionRequest]:
        """What the fusion encoder is to read for it; nothing, where it reads the towers' outputs alone."""
        return ()

    def losses(self, encoded: EncodedBatch, fused: Sequence[FusedStates]) -> dict[str, Tensor]:
        """Losses by name, each with "loss" in it; anything else is only logged.

        Args:
            encoded: The batch.
            fused: The requests it gave for this batch, with their states, in the same order.
        """
        raise NotImplementedError(f"{type(self).__name__} must give losses(encoded, fused).")
