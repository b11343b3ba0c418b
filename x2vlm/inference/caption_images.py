"""What a model says of a picture, in its own words."""

from dataclasses import dataclass, replace
from typing import Any

from x2vlm.data.batch import Batch
from x2vlm.models.generation.search import Search, search_of


@dataclass(frozen=True)
class SaidOfPicture:
    """A caption.

    Attributes:
        text: The caption, without the prompt that it was begun with.
        score: The sum of its words' log-probabilities, divided by the search's length penalty; higher is surer.
    """

    text: str
    score: float


def caption_pictures(
    model: Any, batch: Batch, tokenizer: Any, search: dict[str, Any] | Search | None = None
) -> list[SaidOfPicture]:
    """A caption for each pair's context of a batch; its texts are not read.

    Raises:
        ValueError: If the model cannot write captions, or the search has no meaning.
    """
    if "caption" not in model.objectives:
        known = ", ".join(model.objectives) or "none"
        raise ValueError(f"caption needs objective 'caption', but this model's objectives are: {known}.")
    encoded = model.encode(replace(batch, text_ids=None, text_mask=None))
    written = model.objectives["caption"].generate(model, encoded, search_of(search))
    return [SaidOfPicture(tokenizer.decode(one.ids, skip_special_tokens=True).strip(), one.score) for one in written]
