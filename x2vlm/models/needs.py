"""What objectives need of a batch, as data: the towers compute that and nothing else."""

from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from x2vlm.building import ConfigError, suggestion
from x2vlm.data.batch import Batch
from x2vlm.models.outputs import EncodedBatch


@dataclass(frozen=True)
class Needs:
    """What is read of a batch after the towers.

    Attributes:
        text: The texts.
        masked_text: The texts with masked words.
        context: What the texts are paired with; a batch that has none is refused.
        optional_context: The context, where there is one.
        masked_context: What the masked texts are paired with, where there is something: the context; of parallel texts
            the text, as it is the context that is masked there.
        features: The features, in the shared space, of the texts and contexts that are needed, and the temperature.
        masked_image: The images with hidden patches.
        batch: Fields of the :class:`~x2vlm.data.batch.Batch` that must be there.
    """

    text: bool = False
    masked_text: bool = False
    context: bool = False
    optional_context: bool = False
    masked_context: bool = False
    features: bool = False
    masked_image: bool = False
    batch: tuple[str, ...] = ()

    def __or__(self, other: "Needs") -> "Needs":
        """What either of two needs."""
        either = {one.name: getattr(self, one.name) or getattr(other, one.name) for one in fields(self)}
        return Needs(**either | {"batch": tuple(dict.fromkeys(self.batch + other.batch))})

    def text_of(self, parallel: bool) -> bool:
        """Whether the texts of a batch are read."""
        return self.text or (parallel and self.masked_context)

    def context_of(self, parallel: bool) -> bool:
        """Whether the contexts of a batch are read."""
        return self.context or self.optional_context or (self.masked_context and not parallel)

    def paths(self) -> list[str]:
        """What must be there of an :class:`~x2vlm.models.outputs.EncodedBatch`, the batch's own fields first."""
        encoded = {
            "context.feat": self.context and self.features,
            "text.feat": self.text and self.features,
            "temperature": self.features,
            "context.tokens": self.context,
            "text.embeds": self.text,
            "masked_text.embeds": self.masked_text,
            "masked_image": self.masked_image,
        }
        return [f"batch.{name}" for name in self.batch] + [path for path, needed in encoded.items() if needed]


EVERYTHING = Needs(text=True, optional_context=True, features=True)
"""What evaluation reads of a batch, unless it says otherwise."""


def check_needs(name: str, needs: Needs, encoded: EncodedBatch) -> None:
    """Name what an objective needs and a stream does not give, before a None fails somewhere inside.

    Args:
        name: Of the objective.
        needs: What it needs.
        encoded: The batch.

    Raises:
        ValueError: If something is missing.
    """
    for path in needs.paths():
        value: Any = encoded
        for attribute in path.split("."):
            value = getattr(value, attribute)
            if value is None:
                records = ", ".join(encoded.batch.where[:2]) or "this batch"
                raise ValueError(
                    f"objective '{name}' needs {path}, but {records} (and so on) give no {attribute}. "
                    f"Remove '{name}' from the stream's objectives, or give the stream what it needs."
                )


def check_protocol(name: str, objective: nn.Module) -> None:
    """Refuse an objective that does not say what it needs, or gives no losses.

    Raises:
        ConfigError: If it does not.
    """
    if not isinstance(getattr(objective, "needs", None), Needs) or not hasattr(objective, "losses"):
        raise ConfigError(
            f"{type(objective).__name__} is not an objective: it lacks `needs` (in the place of the former `requires`) "
            "or `losses(encoded, fused)` (of `forward(encoded)`). Derive it from x2vlm.objectives.base.Objective; "
            "docs/plugins.md shows how.",
            f"model.objectives.{name}",
        )
    known = [field.name for field in fields(Batch)]
    for wanted in objective.needs.batch:
        if wanted not in known:
            raise ConfigError(
                f"{type(objective).__name__}.needs names batch '{wanted}', which no Batch has."
                f"{suggestion(wanted, known)} Fields: {', '.join(known)}.",
                f"model.objectives.{name}",
            )
