"""Answers to questions about an image, ranked from candidates or generated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from x2vlm.data.batch import Batch
from x2vlm.data.collate.padding import padded_tokens
from x2vlm.data.tokenizer import tokenize
from x2vlm.evaluation.required_objective import require_objective


@dataclass(frozen=True)
class Answer:
    """The answer to a question.

    Attributes:
        question: The question, unchanged.
        text: The answer.
        probability: 0..1: of a candidate, among the candidates that were scored in full; of a generated answer, the
            product of its tokens' probabilities.
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
        batch: The questions with their image.
        questions: The same questions as text.
        tokenizer: The tokenizer of the answers.
        candidates: Answers to rank; None generates answers.
        k: Candidates with the likeliest first tokens that are scored in full.
        best: Answers to return for each question; generation uses as many beams.
        max_tokens: Largest number of tokens of a generated answer.

    Raises:
        ValueError: If the model has no objective ``answer``, or there are no candidates.
    """
    require_objective(model, "answer", "answer", advice="")
    if isinstance(candidates, str) or (candidates is not None and not candidates):
        raise ValueError(f"candidates: expected one answer or more in a sequence, or None, got {candidates!r}.")
    if best < 1:
        raise ValueError(f"best is {best}; expected 1 or more.")
    objective = model.objectives["answer"]
    states = model.read(objective.requests(model.encode(batch)))
    if candidates is None:
        ends = tokenizer.cls_token_id, tokenizer.sep_token_id
        generated = objective.write(states, *ends, num_beams=best, max_tokens=max_tokens)
        answers = [tokenizer.batch_decode(ids, skip_special_tokens=True) for ids in generated.ids]
        probabilities = generated.scores.exp().tolist()
    else:
        ids, mask = padded_tokens(tokenize(tokenizer, list(candidates), None), tokenizer.pad_token_id)
        ranked = objective.rank(states, ids.to(model.device), mask.to(model.device), k=k)
        answers = [[candidates[index] for index in row] for row in ranked.ids[:, :best].tolist()]
        probabilities = ranked.probabilities[:, :best].tolist()
    return [
        Answer(question, texts[0], values[0], tuple(zip(texts[1:], values[1:], strict=True)))
        for question, texts, values in zip(questions, answers, probabilities, strict=True)
    ]
