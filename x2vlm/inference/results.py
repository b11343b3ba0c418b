"""What a model answers: small dataclasses that print well and turn into JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

Box = tuple[float, float, float, float]


class Prediction:
    """An answer with ``to_dict()`` for JSON, and a line of text for people."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values: numbers rounded to six digits, paths as text."""
        return plain(asdict(self))  # type: ignore[call-overload]


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 6)
    return str(value) if isinstance(value, PathLike) else value


@dataclass(frozen=True)
class Match(Prediction):
    """How well a text fits an image or clip.

    Attributes:
        text: The text as it was given.
        similarity: Cosine of both features, -1..1; None where the model has no shared space.
        probability: That they match, by objective ``itm``, 0..1; None where it was not computed: the text was not among
            the ``k`` nearest, or the model has no such objective.
    """

    text: str
    similarity: float | None
    probability: float | None

    def __str__(self) -> str:
        return f"{self.text!r}: {_scores(self.probability, self.similarity)}"


@dataclass(frozen=True)
class Retrieved(Prediction):
    """An image (or clip, or region) of a gallery that was found.

    Attributes:
        image: Where it is: the path, or its number in the list that was given.
        index: Its number in the gallery.
        similarity: Cosine with the query, -1..1.
        probability: That it matches, 0..1; None where it was not computed.
    """

    image: str | int
    index: int
    similarity: float
    probability: float | None

    def __str__(self) -> str:
        return f"{self.image}: {_scores(self.probability, self.similarity)}"


@dataclass(frozen=True)
class Candidate(Prediction):
    """One box that a phrase may mean: corners in pixels of the given image and in 0..1, and its probability."""

    box_xyxy_px: Box
    box_xyxy: Box
    probability: float | None


@dataclass(frozen=True)
class Grounding(Prediction):
    """Where the thing is that a phrase describes.

    Attributes:
        text: The phrase as it was given.
        box_xyxy_px: Corners in pixels of the given image; None where it is not in the image (see ``threshold`` of
            :meth:`~x2vlm.inference.inferencer.Inferencer.ground`).
        box_xyxy: The same in 0..1.
        probability: That the phrase matches what is in the box, 0..1; None where the model has no objective ``itm``.
        image_probability: That the phrase matches the image as a whole.
        others: Further candidates, most probable first.
    """

    text: str
    box_xyxy_px: Box | None
    box_xyxy: Box | None
    probability: float | None
    image_probability: float | None
    others: tuple[Candidate, ...] = ()

    @property
    def found(self) -> bool:
        """Whether there is a box."""
        return self.box_xyxy_px is not None

    def __str__(self) -> str:
        if self.box_xyxy_px is None:
            return f"{self.text!r}: not in this image ({_scores(self.image_probability, None)})"
        corners = ", ".join(f"{value:.0f}" for value in self.box_xyxy_px)
        return f"{self.text!r}: ({corners}) px, {_scores(self.probability, None)}"


@dataclass(frozen=True)
class Answer(Prediction):
    """The answer to a question.

    Attributes:
        question: The question as it was given.
        text: The answer.
        probability: 0..1: of given answers among those that were scored as a whole; of a generated answer, that of
            generating it.
        others: The next best answers with their probabilities, best first.
    """

    question: str
    text: str
    probability: float
    others: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        return f"{self.question!r}: {self.text} ({self.probability:.3f})"


@dataclass(frozen=True)
class Caption(Prediction):
    """A generated caption.

    Attributes:
        text: The caption, without the prompt that it begins with.
        score: Sum of the log-probabilities of its tokens, divided by the search's length penalty; higher is surer.
    """

    text: str
    score: float

    def __str__(self) -> str:
        return f"{self.text} ({self.score:.3f})"


@dataclass(frozen=True)
class Label(Prediction):
    """A class with its probability.

    Attributes:
        index: Number of the class.
        name: Its name, or the number as text where names are not known.
        probability: 0..1; classes of one input sum to 1.
        others: The next likeliest classes as ``(name, probability)``.
    """

    index: int
    name: str
    probability: float
    others: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        return f"{self.name} ({self.probability:.3f})"


@dataclass(frozen=True)
class AttributeScore(Prediction):
    """How well an attribute fits a thing: score of its sentences less that of sentences that name the thing alone."""

    name: str
    score: float

    def __str__(self) -> str:
        return f"{self.name}: {self.score:+.3f}"


def _scores(probability: float | None, similarity: float | None) -> str:
    shown = [] if probability is None else [f"probability {probability:.3f}"]
    shown += [] if similarity is None else [f"cosine {similarity:.3f}"]
    return ", ".join(shown) or "no score"
