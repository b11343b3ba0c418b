"""Generated captions of images, regions or clips."""

from dataclasses import dataclass, replace
from typing import Any

from x2vlm.data.batch import Batch
from x2vlm.evaluation.required_objective import require_objective
from x2vlm.inference.renamed import renamed_attributes
from x2vlm.models.generation.search import Search, search_of


@dataclass(frozen=True)
class Caption:
    """A caption.

    Attributes:
        text: The caption, without the prompt.
        score: The sum of its tokens' log-probabilities, divided by the length penalty of the search.
    """

    text: str
    score: float


def caption_images(
    model: Any, batch: Batch, tokenizer: Any, search: dict[str, Any] | Search | None = None
) -> list[Caption]:
    """Caption the context of each pair of a batch; its texts are ignored.

    Args:
        model: A model with objective ``caption``.
        batch: The images.
        tokenizer: Decodes captions.
        search: How captions are generated; None for the published search.

    Raises:
        ValueError: If the model has no objective ``caption``, or an argument of the search is invalid.
    """
    require_objective(model, "caption", "caption", advice="")
    encoded = model.encode(replace(batch, text_ids=None, text_mask=None))
    generated = model.objectives["caption"].generate(model, encoded, search_of(search))
    return [Caption(tokenizer.decode(text.ids, skip_special_tokens=True).strip(), text.score) for text in generated]


__getattr__ = renamed_attributes(__name__, {"SaidOfPicture": Caption})
