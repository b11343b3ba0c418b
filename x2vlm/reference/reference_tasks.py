"""Retrieval, answer ranking and captioning by the reference path.

Shape letters: P pairs, Q questions, C candidates, k of them, S tokens of a question, L tokens, R rows, T tokens so far,
N patches, D width, V words.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from x2vlm.data.collate.caption_collate import causal_mask
from x2vlm.models.generation.answer_decoder import AnswerDecoder
from x2vlm.models.generation.rank_answers import Ranking
from x2vlm.reference.reference_layers import CONTEXT_FORBIDDEN, TEXT_FORBIDDEN, additive_mask, fusion_layer, text_layer
from x2vlm.reference.reference_model import ReferenceModel, Tokens


def match(reference: ReferenceModel, text: Tokens, context: Tokens) -> Tensor:
    """Logits of "this text matches this context" for ``P`` texts, each with a context of its own: ``[P]``."""
    return reference.model.objectives["itm"].head(reference.fuse(text, context)[:, 0])[:, 1]


def texts_of_an_image(reference: ReferenceModel, image: Tensor, texts: Tokens) -> Tensor:
    """Scores of ``k`` texts, padded, for one image ``[1 + N, D]``, which is copied for each of them: ``[k]``."""
    images = image.repeat(len(texts.embeds), 1, 1)
    return match(reference, texts, Tokens(images, _full_mask(images)))


def images_of_a_text(reference: ReferenceModel, images: Tensor, text: Tokens) -> Tensor:
    """Scores of ``k`` images ``[k, 1 + N, D]`` for one text, ``[1, L, D]``, padded: ``[k]``."""
    texts = Tokens(text.embeds.repeat(len(images), 1, 1), text.mask.repeat(len(images), 1))
    return match(reference, texts, Tokens(images, _full_mask(images)))


def _full_mask(images: Tensor) -> Tensor:
    """``[k, 1 + N]`` bool: attention is allowed everywhere."""
    return torch.ones(images.shape[:2], dtype=torch.bool, device=images.device)


def rank_answers(
    decoder: AnswerDecoder, states: Tokens, candidate_ids: Tensor, candidate_mask: Tensor, k: int
) -> Ranking:
    """As published: the ``k`` likeliest first tokens, then every candidate whole, with a copy of the question's states.

    Args:
        decoder: What scores answers.
        states: ``[Q, S, D]`` of the questions, padded.
        candidate_ids: ``[C, L]``, padded to the longest of all.
        candidate_mask: ``[C, L]`` bool.
        k: Candidates of the second stage.
    """
    start = candidate_ids[:1, :1].expand(len(states.embeds), 1)
    first = _decode(decoder, start, states)[:, 0].softmax(dim=-1)[:, candidate_ids[:, 1]]
    probabilities, nearest = first.topk(k, dim=1)
    ids, mask = candidate_ids[nearest.flatten()], candidate_mask[nearest.flatten()]
    tiled = Tokens(*(part.repeat_interleave(k, dim=0) for part in states))
    scores = _decode(decoder, ids, tiled)[:, :-1]
    targets = ids[:, 1:].masked_fill(~mask[:, 1:], -100)
    costs = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape).sum(dim=1)
    logs, order = (probabilities.log() - costs.view(nearest.shape)).sort(dim=1, descending=True, stable=True)
    return Ranking(nearest.gather(1, order), logs.softmax(dim=1), logs)


def _decode(decoder: AnswerDecoder, ids: Tensor, states: Tokens) -> Tensor:
    """``[R, L]`` ids with states of their own -> ``[R, L, V]``."""
    hidden, causal = decoder.embeddings(ids), causal_mask(torch.ones_like(ids, dtype=torch.bool))
    added, context_added = additive_mask(causal, TEXT_FORBIDDEN), additive_mask(states.mask, CONTEXT_FORBIDDEN)
    for layer in decoder.layer:
        hidden = fusion_layer(layer, hidden, added, states.embeds, context_added)
    return decoder.score(hidden)


class ReferenceCaptionReader:
    """Next-word scores of partial captions, as published: of earlier tokens the hidden states are cached.

    Keys and values are projected from them anew at every word, and those of the image in every beam.

    Args:
        reference: With objective ``caption``.
        images: ``[B, 1 + N, D]``, a caption for each.
    """

    def __init__(self, reference: ReferenceModel, images: Tensor) -> None:
        self.reference, self.images = reference, images
        self.objective = reference.model.objectives["caption"]
        self.history: list[Tensor] = []  # of every layer what went into it, [R, T, D]

    def __call__(self, ids: Tensor, rows: Tensor) -> Tensor:
        """``[R, V]`` log-probabilities; see :class:`~x2vlm.models.generation.search.Reader`."""
        model = self.reference.model
        self.images, self.history = self.images[rows], [states[rows] for states in self.history]
        with_mask = torch.cat([ids, ids.new_full((len(ids), 1), self.objective.mask_id)], dim=1)
        cached = self.history[0].shape[1] if self.history else 0
        mask = causal_mask(torch.ones_like(with_mask, dtype=torch.bool))[:, cached:]
        positions = (
            torch.arange(cached, with_mask.shape[1], device=ids.device)[None] + model.text_encoder.first_position
        )
        hidden = model.text_encoder.net.embeddings(input_ids=with_mask[:, cached:], position_ids=positions)
        added, context_added = additive_mask(mask, TEXT_FORBIDDEN), torch.zeros(1, 1, 1, 1, device=ids.device)
        history: list[Tensor] = []
        for i, layer in enumerate([*model.text_encoder.net.encoder.layer, *model.fusion_encoder.layer]):
            source = torch.cat([self.history[i], hidden], dim=1) if self.history else hidden
            history.append(source[:, :-1])  # the [MASK] gives way to the word
            if i < len(model.text_encoder.net.encoder.layer):
                hidden = text_layer(layer, hidden, added, source)
            else:
                hidden = fusion_layer(layer, hidden, added, self.images, context_added, source)
        self.history = history
        scores = self.objective.score(hidden[:, -1], model.text_encoder.word_embeddings)
        return scores.float().log_softmax(dim=-1)
