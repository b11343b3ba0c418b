"""The answer decoder: causal self-attention over an answer, cross-attention to the states of a question.

Keys and values of a question's states are projected once per question, however many answers are generated or compared.

Shape letters: Q questions, n answers to each of them, A = Q n answers, S tokens of a question, L tokens of an answer,
D width, V words, H heads.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from x2vlm.models.fusion.layer import FusionLayer
from x2vlm.models.generation.kv_cache import KVCache
from x2vlm.models.layers.attention import KeyValue


class AnswerDecoder(nn.Module):
    """BERT layers with causal self-attention and cross-attention to a question's states (arXiv:2211.12402v1, App. A.1).

    The paper follows ALBEF there: six layers like the fusion encoder's, words of their own and a head tied to them.
    Published checkpoints name the parts after BERT (``text_decoder.bert.embeddings``, ``text_decoder.bert.encoder``,
    ``text_decoder.cls.predictions``); here they are ``embeddings``, ``layer``, and ``dense``, ``LayerNorm``, ``bias``.

    Args:
        width: Width of the decoder and of the question's states.
        vocab_size: Number of words.
        depth: Number of layers. Published: 6, or 3.
        num_heads: Attention heads; derived as one per 64 of width where not given.
        mlp_width: Width of the feed-forward layer; four times ``width`` where not given.
        dropout: Probability, in training, for hidden states and for attention weights.
        layer_norm_eps: Epsilon of all norms.
        init_std: Standard deviation of fresh weights.
        max_positions: Most tokens of an answer, as the table of positions has it.
        token_types: Rows of the table of token types, of which the first is used; BERT has 2, RoBERTa 1.
        first_position: Row of the first token's position; RoBERTa has 2.
        attention: Attention backend.
    """

    def __init__(
        self,
        width: int,
        vocab_size: int,
        depth: int = 6,
        num_heads: int | None = None,
        mlp_width: int | None = None,
        dropout: float = 0.1,
        layer_norm_eps: float = 1e-12,
        init_std: float = 0.02,
        max_positions: int = 512,
        token_types: int = 2,
        first_position: int = 0,
        attention: str = "auto",
    ) -> None:
        super().__init__()
        num_heads = num_heads or max(1, width // 64)
        if width % num_heads:
            raise ValueError(f"decoder width {width} cannot be split in {num_heads} heads: num_heads must divide it.")
        if depth < 1 or not 0 <= first_position < max_positions:
            raise ValueError(
                f"depth is {depth} and first_position {first_position} of {max_positions}; expected a layer or more, "
                "and a position in the table."
            )
        self.embeddings = AnswerEmbeddings(
            width, vocab_size, max_positions, token_types, first_position, dropout, layer_norm_eps
        )
        self.layer = nn.ModuleList(
            AnswerLayer(width, width, num_heads, mlp_width or 4 * width, dropout, layer_norm_eps, attention)
            for _ in range(depth)
        )
        self.dense = nn.Linear(width, width)
        self.LayerNorm = nn.LayerNorm(width, eps=layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=init_std)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def project(self, states: Tensor) -> list[KeyValue]:
        """Keys and values of ``[Q, S, D]`` question states for every layer, ``[Q, H, S, d]`` each."""
        return [layer.project(states) for layer in self.layer]

    def forward(self, ids: Tensor, question_keys_values: Sequence[KeyValue], question_mask: Tensor) -> Tensor:
        """States of answers with causal attention. Padding after an answer does not change its states.

        Args:
            ids: ``[A, L]`` long; the ``n`` answers to a question are neighbours.
            question_keys_values: ``project(states)`` of the ``Q`` questions.
            question_mask: ``[Q, S]`` bool, True at real tokens of the questions.

        Returns:
            ``[A, L, D]``; for :meth:`score`.

        Raises:
            ValueError: If answers are longer than the table of positions, or do not divide among the questions.
        """
        return self.advance(ids, question_keys_values, question_mask, KVCache())

    def advance(
        self, ids: Tensor, question_keys_values: Sequence[KeyValue], question_mask: Tensor, cache: KVCache
    ) -> Tensor:
        """States of the next tokens, after those in the cache.

        Args:
            ids: ``[A, L]``, the next tokens.
            question_keys_values: As in :meth:`forward`.
            question_mask: As in :meth:`forward`.
            cache: Of the tokens before, empty at the start of an answer; is extended.

        Returns:
            ``[A, L, D]``.
        """
        length = cache.length
        self.embeddings.check_length(length + ids.shape[1])
        order = torch.arange(length + ids.shape[1], device=ids.device)
        causal = order[None] <= order[length:, None]
        return self.read(ids, order[None, length:], causal[None], question_keys_values, question_mask, cache)

    def read(
        self,
        ids: Tensor,
        positions: Tensor,
        attn_mask: Tensor,
        question_keys_values: Sequence[KeyValue],
        question_mask: Tensor,
        cache: KVCache,
    ) -> Tensor:
        """States of tokens with any attention mask, such as the branches of a prefix tree.

        Args:
            ids: ``[A, L]``; the rows of a question are neighbours.
            positions: ``[A, L]`` or ``[1, L]``, of each token in its answer, counted from 0.
            attn_mask: ``[A, L, P + L]`` bool (or ``[1, L, P + L]``), True where a token attends: to the ``P`` cached
                tokens and to these.
            question_keys_values: As in :meth:`forward`.
            question_mask: As in :meth:`forward`.
            cache: Keys and values of the ``P`` tokens; is extended.

        Returns:
            ``[A, L, D]``.
        """
        if len(ids) % max(1, len(question_mask)):
            raise ValueError(f"{len(ids)} answers to {len(question_mask)} questions: expected equally many to each.")
        hidden, attn_mask = self.embeddings(ids, positions), attn_mask.expand(len(ids), -1, -1)
        for layer, keys_values in zip(self.layer, question_keys_values, strict=True):
            hidden = layer.advance(hidden, cache, attn_mask, keys_values, question_mask)
        cache.length += ids.shape[1]
        return hidden

    def score(self, hidden: Tensor) -> Tensor:
        """``[..., D]`` -> ``[..., V]``, scores of the next word."""
        hidden = self.LayerNorm(nn.functional.gelu(self.dense(hidden)))
        return nn.functional.linear(hidden, self.embeddings.word_embeddings.weight, self.bias)

    def costs(
        self, ids: Tensor, mask: np.ndarray, question_keys_values: Sequence[KeyValue], question_mask: Tensor
    ) -> Tensor:
        """Cost of each answer: the summed cross entropy of its tokens after [CLS].

        Args:
            ids: ``[A, L]``, [CLS] and [SEP] included.
            mask: ``[A, L]`` bool in main memory, True at real tokens.
            question_keys_values: As in :meth:`forward`.
            question_mask: As in :meth:`forward`.

        Returns:
            ``[A]``.
        """
        hidden = self(ids[:, :-1], question_keys_values, question_mask)
        real = torch.from_numpy(np.flatnonzero(mask[:, 1:])).to(ids.device, non_blocking=True)
        targets = ids[:, 1:].flatten()
        scores = self.score(hidden.flatten(0, 1)[real]).float()  # [sum of lengths, V]: no word is scored at padding
        costs = nn.functional.cross_entropy(scores, targets[real], reduction="none")
        return costs.new_zeros(targets.shape).index_copy(0, real, costs).view(len(ids), -1).sum(dim=1)


class AnswerLayer(FusionLayer):
    """A decoder layer for padded answers, and for generation token by token."""

    forward_methods = ("project", "advance")

    def advance(
        self, hidden: Tensor, cache: KVCache, attn_mask: Tensor, question_keys_values: KeyValue, question_mask: Tensor
    ) -> Tensor:
        """Compute tokens after those of the cache, as :meth:`AnswerDecoder.read`."""
        keys_values = cache.extend(self.attention, self.attention.keys_values(hidden))
        hidden = self.attention(hidden, keys_values, attn_mask)
        # The answers to a question attend to it as one row of tokens: its keys and values are not copied.
        rows = hidden.reshape(len(question_mask), -1, hidden.shape[-1])
        return self.ffn(self.crossattention(rows, question_keys_values, question_mask).view_as(hidden))


class AnswerEmbeddings(nn.Module):
    """Words, positions and token type, normed; BERT's embeddings under BERT's names."""

    def __init__(
        self,
        width: int,
        vocab_size: int,
        max_positions: int,
        token_types: int,
        first_position: int,
        dropout: float,
        layer_norm_eps: float,
    ) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab_size, width)
        self.position_embeddings = nn.Embedding(max_positions, width)
        self.token_type_embeddings = nn.Embedding(token_types, width)
        self.LayerNorm = nn.LayerNorm(width, eps=layer_norm_eps)
        self.dropout = nn.Dropout(dropout)
        self.first_position = first_position

    def check_length(self, tokens: int) -> None:
        """Check that an answer of so many tokens fits the table of positions.

        Raises:
            ValueError: If it is.
        """
        if self.first_position + tokens > self.position_embeddings.num_embeddings:
            raise ValueError(
                f"an answer of {tokens} tokens is too long: the decoder has "
                f"{self.position_embeddings.num_embeddings} positions from {self.first_position}. Raise max_positions, "
                "or cut answers (PairCollate.max_answer_tokens)."
            )

    def forward(self, ids: Tensor, positions: Tensor | None = None) -> Tensor:
        """``[A, L]`` ids -> ``[A, L, D]``; positions ``[A, L]`` or ``[1, L]``, from 0 on where not given."""
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device)[None]
        position_embeds = self.position_embeddings(positions + self.first_position)
        return self.dropout(
            self.LayerNorm(self.word_embeddings(ids) + position_embeds + self.token_type_embeddings.weight[0])
        )
