"""What a model answers to questions about a picture: the likeliest of given answers, or its own words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from x2vlm.data.batch import Batch
from x2vlm.data.collate.padding import padded_tokens
from x2vlm.data.tokenizer import tokenize


@dataclass(frozen=True)
class Answer:
    """What a model answers to a question.

    Attributes:
        question: The question as it was given.
        text: The answer.
        probability: 0..1: of given answers among those that were scored as a whole; of an answer in the model's own
            words, that it is written so.
        others: The next best answers with their probabilities, best first.
    """

    question: str
    text: str
    probability: float
    others: tuple[tuple[str, float], ...] = ()


def answer_questions(
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
        batch: The questions with their picture.
        questions: The same as they were asked.
        tokenizer: The tokenizer of the answers.
        candidates: Answers to choose from; None lets the model write.
        k: Of so many candidates of the likeliest first tokens the whole is scored.
        best: Answers to give to each question; as many beams are followed where the model writes.
        max_tokens: Most tokens of a written answer.

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
    asked = model.read(objective.requests(model.encode(batch)))
    if candidates is None:
        ends = tokenizer.cls_token_id, tokenizer.sep_token_id
        made = objective.write(asked, *ends, num_beams=best, max_tokens=max_tokens)
        texts = [tokenizer.batch_decode(ids, skip_special_tokens=True) for ids in made.ids]
        chances = made.scores.exp().tolist()
    else:
        ids, mask = padded_tokens(tokenize(tokenizer, list(candidates), None), tokenizer.pad_token_id)
        made = objective.rank(asked, ids.to(model.device), mask.to(model.device), k=k)
        texts = [[candidates[number] for number in row] for row in made.ids[:, :best].tolist()]
        chances = made.probabilities[:, :best].tolist()
    return [
        Answer(question, said[0], chance[0], tuple(zip(said[1:], chance[1:], strict=True)))
        for question, said, chance in zip(questions, texts, chances, strict=True)
    ]
