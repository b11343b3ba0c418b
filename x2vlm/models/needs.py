"""What objectives need of an encoded batch, declared as data: the towers compute that and nothing else."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from x2vlm.data.batch import Batch
from x2vlm.models.outputs import EncodedBatch, is_parallel
from x2vlm.part_errors import ConfigError


@dataclass(frozen=True)
class Needs:
    """The fields of an encoded batch that are read after the towers.

    The word embeddings and the batch itself are there in any case.

    Attributes:
        text: The unmasked texts.
        masked_text: The texts with masked words.
        context: What the texts are paired with; a batch that has none is refused.
        optional_context: The context, where there is one.
        masked_context: The context that masked texts are fused with (``EncodedBatch.masked_context``): in a stream of
            parallel texts, where the context's sentences are masked, the unmasked texts; in all other streams the
            optional context. :meth:`resolved` puts the one or the other in its place.
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
        """The union of two declarations."""
        either = {field.name: getattr(self, field.name) or getattr(other, field.name) for field in fields(self)}
        return Needs(**either | {"batch": tuple(dict.fromkeys(self.batch + other.batch))})

    def resolved(self, parallel: bool) -> "Needs":
        """The needs in a stream of one kind, with the field that ``masked_context`` stands for there in its place.

        Args:
            parallel: Whether the stream pairs texts with the same sentences in another language.
        """
        if not self.masked_context:
            return self
        field = {"text": True} if parallel else {"optional_context": True}
        return replace(self, masked_context=False, **field)

    @property
    def reads_context(self) -> bool:
        """Whether contexts are read where the batch has some."""
        return self.context or self.optional_context

    def paths(self) -> list[str]:
        """Paths in the encoded batch that must not be None, the batch's own fields first."""
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


Objectives = Iterable[str] | Mapping[str, float] | None
"""Names of objectives, or a factor for each; None: all."""

EVERYTHING = Needs(text=True, optional_context=True, features=True)
"""The default of evaluation: texts, contexts and their features."""


def needs_of(objectives: Mapping[str, Any], names: Iterable[str]) -> Needs:
    """What several objectives need together."""
    needs = Needs()
    for name in names:
        needs |= objectives[name].needs
    return needs


def objective_factors(
    objectives: Mapping[str, Any], batches: Mapping[str, Batch], wanted: Mapping[str, Objectives]
) -> dict[str, dict[str, float]]:
    """The objectives of each stream, with the factor of their losses.

    Args:
        objectives: Those of the model.
        batches: By stream.
        wanted: For each stream names, or a factor for each name; all objectives where nothing is said.

    Raises:
        ValueError: If one is unknown, or a batch lacks a field that it needs.
    """
    factors = {}
    for stream, batch in batches.items():
        chosen = wanted.get(stream)
        names = list(objectives if chosen is None else chosen)
        for name in names:
            if name not in objectives:
                raise ValueError(f"'{name}' is not one of this model's objectives: {', '.join(objectives)}.")
            check_needs(name, Needs(batch=objectives[name].needs.batch), EncodedBatch(batch))
        factors[stream] = {name: chosen[name] if isinstance(chosen, Mapping) else 1.0 for name in names}
    return factors


def check_needs(name: str, needs: Needs, encoded: EncodedBatch) -> None:
    """Check that a batch has what an objective needs.

    Args:
        name: Of the objective.
        needs: Of the objective, as it declares them.
        encoded: The batch.

    Raises:
        ConfigError: If something is missing.
    """
    for path in needs.resolved(is_parallel(encoded.batch)).paths():
        value: Any = encoded
        for attribute in path.split("."):
            value = getattr(value, attribute)
            if value is None:
                records = ", ".join(encoded.batch.where[:2]) or "this batch"
                raise ConfigError(
                    f"objective '{name}' needs {path}, but {records} (and so on) give no {attribute}. "
                    f"Remove '{name}' from the stream's objectives, or give the stream what it needs."
                )
