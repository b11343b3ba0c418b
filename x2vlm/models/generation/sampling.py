"""Sampling of texts, word by word.

Shape letters: B texts to write, R rows (partial texts), V words.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from x2vlm.models.generation.search import GeneratedText, GenerationLimits, Reader, check_at_least, forbid
from x2vlm.registry import SEARCHES


@SEARCHES.register_module()
@dataclass(frozen=True)
class Sampling:
    """Sample a text word by word, with temperature, top-k and top-p.

    Args:
        temperature: Log-probabilities are divided by it: below 1 for likelier texts, above 1 for stranger ones.
        top_k: Draw among the so many likeliest words; None among all.
        top_p: Draw among the likeliest words that have this share of the probability together, at least one.
        min_length: A text has so many words (tokens) or more, that which ends it not counted.
        max_length: At most so many, that which ends it counted.
        no_repeat: No run of so many words comes twice; 0 allows it.
        seed: Draws are a function of this; None draws from torch's global generator.

    Raises:
        ValueError: If a number has no meaning.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_length: int = 5
    max_length: int = 50
    no_repeat: int = 3
    seed: int | None = None

    def __post_init__(self) -> None:
        check_at_least(self, min_length=0, max_length=1, no_repeat=0, **({} if self.top_k is None else {"top_k": 1}))
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}; expected more than 0. Use BeamSearch(beams=1) for 0.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; expected a share above 0 and at most 1.")

    @torch.no_grad()
    def __call__(self, reader: Reader, start: Tensor, end: int) -> list[GeneratedText]:
        """Write ``B`` texts, called like a beam search; scores are sums of the words' log-probabilities."""
        generator = None if self.seed is None else torch.Generator(start.device).manual_seed(self.seed)
        limits = GenerationLimits(end, self.min_length, self.no_repeat)
        ids, rows, scores = start, torch.arange(len(start), device=start.device), torch.zeros(len(start))
        ended = torch.zeros(len(start), dtype=torch.bool, device=start.device)
        scores = scores.to(start.device)
        for _ in range(self.max_length):
            if ended.all():
                break
            log_probs = forbid(reader(ids, rows), ids[:, start.shape[1] :], limits)
            words = torch.multinomial(self.weights(log_probs), 1, generator=generator)
            words = torch.where(ended[:, None], end, words)
            scores = scores + log_probs.gather(1, words)[:, 0].masked_fill(ended, 0.0)
            ended = ended | (words[:, 0] == end)
            ids = torch.cat([ids, words], dim=1)
        texts = [row[: row.index(end)] if end in row else row for row in ids[:, start.shape[1] :].tolist()]
        return [GeneratedText(row, score) for row, score in zip(texts, scores.tolist(), strict=True)]

    def weights(self, log_probs: Tensor) -> Tensor:
        """``[R, V]`` log-probabilities -> ``[R, V]`` with what each word is drawn; rows sum to 1."""
        log_probs = log_probs / self.temperature
        if self.top_k is not None and self.top_k < log_probs.shape[1]:
            least = log_probs.topk(self.top_k, dim=1).values[:, -1:]
            log_probs = log_probs.masked_fill(log_probs < least, -torch.inf)
        probs = log_probs.softmax(dim=1)
        if self.top_p < 1:
            likeliest, order = probs.sort(dim=1, descending=True, stable=True)
            before = likeliest.cumsum(dim=1) - likeliest
            probs = probs.masked_fill((before >= self.top_p).gather(1, order.argsort(dim=1)), 0.0)
        return probs / probs.sum(dim=1, keepdim=True)
