"""Answers and captions: chosen among candidates, or generated."""

from collections.abc import Sequence
from typing import Any

from x2vlm.data.batch import Batch
from x2vlm.data.collate.padding import padded_tokens
from x2vlm.data.tokenizer import tokenize
from x2vlm.inference.results import Answer, Caption
from x2vlm.models.generation.search import Search, search_of


def answer(
    model: Any,
    batch: Batch,
    questions: Sequence[str],
    tokenizer: Any,
    candidates: Sequence[str] | None = None,
    k: int = 128,
    best: int = 1,
    max_tokens: int = 10,
) -> list[Answer]:
    """Answer the questions of a batch.

    Args:
        model: A model with objective ``answer``.
        batch: The questions with their image.
        questions: The same as they were given.
        tokenizer: The tokenizer of the answers.
        candidates: Answers to choose from; None lets the model generate.
        k: Of so many candidates of the likeliest first tokens the whole is scored.
        best: Answers to give to each question; as many beams are followed where the model generates.
        max_tokens: Most tokens of a generated answer.

    Raises:
        ValueError: If the model cannot answer, or there is nothing to choose from.
    """
    if "answer" not in model.objectives:
        known = ", ".join(model.objectives) or "none"
        raise ValueError(f"answer needs objective 'answer', but this model's objectives are: {known}.")
    if isinstance(candidates, str) or (candidates is not None and not candidates):
        raise ValueError(f"candidates: expected one answer or more in a sequence, or None, got {candidates!r}.")
    if best < 1:
        raise ValueError(f"best is {best}; expected 1 or more.")
    objective = model.objectives["answer"]
    fused = model.read(objective.requests(model.encode(batch)))
    if candidates is None:
        ends = tokenizer.cls_token_id, tokenizer.sep_token_id
        generated = objective.write(fused, *ends, num_beams=best, max_tokens=max_tokens)
        texts = [tokenizer.batch_decode(ids, skip_special_tokens=True) for ids in generated.ids]
        probabilities = generated.scores.exp().tolist()
    else:
        ids, mask = padded_tokens(tokenize(tokenizer, list(candidates), None), tokenizer.pad_token_id)
        ranked = objective.rank(fused, ids.to(model.device), mask.to(model.device), k=k)
        texts = [[candidates[number] for number in row] for row in ranked.ids[:, :best].tolist()]
        probabilities = ranked.probabilities[:, :best].tolist()
    return [
        Answer(question, text[0], probability[0], tuple(zip(text[1:], probability[1:], strict=True)))
        for question, text, probability in zip(questions, texts, probabilities, strict=True)
    ]


def caption(model: Any, batch: Batch, tokenizer: Any, search: dict[str, Any] | Search | None = None) -> list[Caption]:
    """A caption for the context of each pair of a batch without texts.

    Raises:
        ValueError: If the model cannot generate captions, or the search has no meaning.
    """
    if "caption" not in model.objectives:
        known = ", ".join(model.objectives) or "none"
        raise ValueError(f"caption needs objective 'caption', but this model's objectives are: {known}.")
    generated = model.objectives["caption"].generate(model, model.encode(batch), search_of(search))
    return [Caption(tokenizer.decode(one.ids, skip_special_tokens=True).strip(), one.score) for one in generated]
