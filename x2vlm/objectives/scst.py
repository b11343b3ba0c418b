"""Self-critical sequence training: captions that the model samples, rewarded with CIDEr-D.

Shape letters: B images, S sampled captions, P predicted tokens, M predicted tokens of the longest caption.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from x2vlm.cider import DocumentFrequencies, caption_tokens, cider_d
from x2vlm.data.batch import Batch
from x2vlm.data.collate.caption_collate import PROMPT, duplicate_masked_tokens, masked_caption_tensors
from x2vlm.data.collate.padding import padded
from x2vlm.distributed import is_sharded
from x2vlm.models.encode import TextIds, encode_text
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.fusion.requests import FusedStates, FusionRequest
from x2vlm.models.generation.beam_search import BeamSearch
from x2vlm.models.generation.sampling import Sampling
from x2vlm.models.generation.search import GeneratedText
from x2vlm.models.needs import Needs
from x2vlm.models.outputs import EncodedBatch, SampledTexts
from x2vlm.objectives.caption import CaptionGeneration
from x2vlm.registry import OBJECTIVES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


BASELINES = ("greedy", "samples")


@OBJECTIVES.register_module()
class SCST(CaptionGeneration):
    """Raise CIDEr-D of sampled captions above that of the greedy one (self-critical training, arXiv:1612.00563).

    In each step the model writes captions for the images of the batch, without gradient, and without dropout in the
    text and the fusion encoder: one greedily, ``samples`` by drawing every word from its own distribution. The loss is
    ``-mean_s[(reward(s) - reward(greedy)) * sum_t log p(word t of s | words before it, image)]``, whose gradient is
    that of REINFORCE with the greedy caption as baseline. The reward is CIDEr-D (0..10) against the image's texts in
    the batch, the same number as the metric's for the same document frequencies.

    It goes on from a model that objective ``caption`` trained, and has the same weights: put it under that name.
    Records need all captions of an image: ``AllCaptions(clean=False, max_words=None)`` with ``PairCollate(masking=
    None)``.

    Args:
        width: Width of the fusion encoder.
        vocab_size: Number of words.
        tokenizer: As for :class:`~x2vlm.objectives.caption.CaptionGeneration`; decodes captions.
        document_frequencies: File that ``x2vlm caption-frequencies`` wrote of the training captions; it is read at the
            first step, and not needed otherwise.
        samples: Sampled captions of each image.
        baseline: What a sampled caption's reward is compared with: ``greedy``, that of the greedy caption; ``samples``,
            the mean of the image's other samples, which varies less where sampled captions are much worse than the
            greedy one.
        max_length: Most tokens of a caption, [SEP] counted.
        prompt: The prompt of every caption.
        tied: Score words by the text encoder's input embeddings instead of a matrix of its own.
        layer_norm_eps: Epsilon of the head's norm.
        weight: Factor of the objective's losses.
        word_width: As for :class:`~x2vlm.objectives.mlm.MLM`.

    Raises:
        ValueError: If a number has no meaning, or the tokenizer lacks a token.
    """

    needs = Needs(context=True, batch=("ids",))
    loss_name = "loss_scst"

    def __init__(
        self,
        width: int,
        vocab_size: int,
        tokenizer: "PreTrainedTokenizerBase",
        document_frequencies: str | PathLike | DocumentFrequencies | None = None,
        samples: int = 5,
        baseline: str = "greedy",
        max_length: int = 20,
        prompt: str = PROMPT,
        tied: bool = True,
        layer_norm_eps: float = 1e-12,
        weight: float = 1.0,
        word_width: int | None = None,
    ) -> None:
        super().__init__(width, vocab_size, tokenizer, prompt, 0.0, tied, layer_norm_eps, weight, word_width)
        if min(samples, max_length) < 1:
            raise ValueError(f"samples={samples} and max_length={max_length} are counts from 1.")
        if baseline not in BASELINES or (baseline == "samples" and samples < 2):
            raise ValueError(
                f"baseline is {baseline!r} with samples={samples}. Accepted: greedy; samples, of two or more."
            )
        self.tokenizer, self.document_frequencies, self.samples = tokenizer, document_frequencies, samples
        self.max_length, self.baseline = max_length, baseline
        self.greedy = BeamSearch(beams=1, min_length=0, max_length=max_length, no_repeat=0)
        self.sampling = Sampling(min_length=0, max_length=max_length, no_repeat=0)

    @cached_property
    def frequencies(self) -> DocumentFrequencies:
        """The document frequencies, read when they are first needed.

        Raises:
            ValueError: If none are given, or the file holds none.
            FileNotFoundError: If there is no such file.
        """
        if self.document_frequencies is None:
            raise ValueError(
                "objective SCST weighs n-grams by their frequencies in the training captions: write them by "
                "`x2vlm caption-frequencies CONFIG FILE`, and set document_frequencies=FILE."
            )
        if isinstance(self.document_frequencies, DocumentFrequencies):
            return self.document_frequencies
        return DocumentFrequencies.read(self.document_frequencies)

    def sample(self, model: Any, encoded: EncodedBatch) -> EncodedBatch:
        """Write captions for the images of a batch, reward them, and encode them with gradient.

        Raises:
            ValueError: If the batch has no texts, or the model's weights are sharded.
        """
        if any(map(is_sharded, model.parameters())):
            raise ValueError(
                "objective SCST generates captions inside the step, word by word, which needs whole weights in every "
                "process, but this run shards them. Use DDP (leave model_wrapper_cfg out)."
            )
        first, references = references_of_images(encoded.batch)
        index = torch.tensor(first, device=encoded.context.owner.device)
        # Differs from the published code: there captions are sampled with dropout, five tokens at least. See
        # docs/differences.md#self-critical.
        with eval_mode(model):
            greedy = self._write(model, encoded, index, self.greedy)
            sampled = self._write(model, encoded, index.repeat_interleave(self.samples), self.sampling)
        # Some versions of torch let what was cast without gradient serve the pass with gradient.
        torch.clear_autocast_cache()
        greedy_rewards, rewards = self.rewards(greedy, references), self.rewards(sampled, references)
        of_images = rewards.view(-1, self.samples)
        baseline = greedy_rewards[:, None] if self.baseline == "greedy" else mean_of_others(of_images)
        advantages = (of_images - baseline).flatten()
        text, at, labels = self._encode(model, sampled, index.device)
        scalars = {"sampled_cider": 100 * rewards.mean(), "greedy_cider": 100 * greedy_rewards.mean()}
        context = encoded.context.select(index.repeat_interleave(self.samples))
        advantages = advantages.to(index.device, torch.float32)
        return replace(encoded, samples=SampledTexts(text, context, at, labels, advantages, scalars))

    def rewards(self, captions: Sequence[GeneratedText], references: Sequence[Sequence[str]]) -> Tensor:
        """CIDEr-D of captions, 0..10, in main memory; as many of each image, one after the other."""
        decoded = [self.tokenizer.decode(one.ids, skip_special_tokens=True).strip() for one in captions]
        of_each = len(captions) // max(1, len(references))
        tokenized = [[caption_tokens(text) for text in texts] for texts in references]
        repeated = [texts for texts in tokenized for _ in range(of_each)]
        return torch.tensor(
            cider_d([caption_tokens(text) for text in decoded], repeated, frequencies=self.frequencies),
            dtype=torch.float64,
        )

    def requests(self, encoded: EncodedBatch) -> list[FusionRequest]:
        """The sampled captions with their images, at every word."""
        samples = encoded.samples
        return [FusionRequest(samples.text, samples.context, at=samples.at, labels=samples.labels)]

    def losses(self, encoded: EncodedBatch, fused: Sequence[FusedStates]) -> dict[str, Tensor]:
        samples, (words,) = encoded.samples, fused
        log_probs = self.log_probs(words.states, samples.labels, encoded.word_embeddings)
        row = torch.from_numpy(np.nonzero(samples.at >= 0)[0]).to(log_probs.device, non_blocking=True)
        loss = -(samples.advantages[row] * log_probs).sum() / max(1, len(samples.advantages))
        return {self.loss_name: loss, **samples.scalars}

    def log_probs(self, states: Tensor, labels: np.ndarray, word_embeddings: Tensor) -> Tensor:
        """``[P]`` log-probabilities of the words ``labels`` by ``[P, D]`` states."""
        labels = torch.from_numpy(labels).to(states.device, non_blocking=True)
        return -F.cross_entropy(self.score(states, word_embeddings).float(), labels, reduction="none")

    def _write(self, model: Any, encoded: EncodedBatch, index: Tensor, search: Any) -> list[GeneratedText]:
        return self.generate(model, replace(encoded, context=encoded.context.select(index)), search)

    def _encode(self, model: Any, captions: Sequence[GeneratedText], device: Any) -> tuple[Any, np.ndarray, np.ndarray]:
        """The captions through the text encoder, each word to be predicted from those before it.

        Returns:
            Their states, the positions to predict ``[S, M]`` (-1 where there is none), and the words there, ``[P]``.
        """
        prompt = len(self.start_ids)
        rows = [
            [*self.start_ids, *one.ids, *([self.end_id] if len(one.ids) < self.max_length else [])] for one in captions
        ]
        inputs = [duplicate_masked_tokens(row, range(prompt, len(row)), self.mask_id) for row in rows]
        tensors = masked_caption_tensors(inputs, self.tokenizer.pad_token_id)
        ids, mask, positions = (tensors[f"masked_{name}"].to(device) for name in ("ids", "mask", "text_positions"))
        text = encode_text(model, TextIds(ids, mask, positions))
        labels = np.array([word for row in rows for word in row[prompt:]], dtype=np.int64)
        return text, padded([one.masked_indices for one in inputs], -1).numpy(), labels


def mean_of_others(rewards: Tensor) -> Tensor:
    """``[B, S]`` rewards -> ``[B, S]``: for each sample the mean of the others of its image."""
    return (rewards.sum(dim=1, keepdim=True) - rewards) / (rewards.shape[1] - 1)


def references_of_images(batch: Batch) -> tuple[list[int], list[list[str]]]:
    """The first pair of each image of a batch, and the image's texts; pairs of equal identity are of one image.

    Raises:
        ValueError: If the batch has no texts.
    """
    if not batch.texts:
        raise ValueError(
            "objective SCST compares captions with the texts of the batch, but it has none. Load them with "
            "AllCaptions(clean=False, max_words=None)."
        )
    first: dict[int, int] = {}
    references: dict[int, list[str]] = {}
    for pair, (identity, text) in enumerate(zip(batch.ids.tolist(), batch.texts, strict=True)):
        first.setdefault(identity, pair)
        references.setdefault(identity, []).append(text)
    return list(first.values()), list(references.values())
