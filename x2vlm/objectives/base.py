"""The protocol of objectives: declared needs, fusion requests, losses.

A training step has three phases (:meth:`x2vlm.models.x2vlm.X2VLM.forward`). The towers encode what the ``needs`` of all
objectives name. Each objective gives ``requests``: which texts are fused with which contexts, and which states it
reads. The requests of all objectives and streams are fused in one pass. Each objective gives ``losses`` of its states.
So an objective has a head and two functions of their arguments; it depends neither on the encoders nor on the stream.

An objective that learns from what the model writes itself has a third function, ``sample``, which is called before
``requests``: it generates texts without gradient, and encodes them with it (:class:`~x2vlm.objectives.scst.SCST`).
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from x2vlm.models.fusion.requests import FusedStates, FusionRequest
from x2vlm.models.needs import Needs
from x2vlm.models.outputs import EncodedBatch


class Objective(nn.Module):
    """Base of all objectives.

    Attributes:
        needs: The fields of an encoded batch that it reads. A stream without them is refused with a sentence.
        weight: Factor of its losses, beside that of the stream and of the stream's config; applied by the model.
    """

    needs: Needs = Needs()
    weight: float = 1.0

    def sample(self, model: Any, encoded: EncodedBatch) -> EncodedBatch:
        """The batch with texts of the model's own as ``samples``; here as it is, which costs nothing.

        Args:
            model: The model, which generates by ``generate`` of a caption objective, and encodes.
            encoded: The batch.
        """
        return encoded

    def requests(self, encoded: EncodedBatch) -> Sequence[FusionRequest]:
        """Requests to the fusion encoder; none, where it reads only outputs of the towers."""
        return ()

    @abstractmethod
    def losses(self, encoded: EncodedBatch, fused: Sequence[FusedStates]) -> dict[str, Tensor]:
        """Losses by name, each with "loss" in it; anything else is only logged.

        Args:
            encoded: The batch.
            fused: Its requests for this batch with their states, in the same order.
        """
