"""Encoders of transformers as text encoders: BERT, RoBERTa, XLM-R, domain models, and decoders that read causally.

Shape letters: B texts, L tokens, D width, V words.
"""

import inspect
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from x2vlm.argument_checks import arguments
from x2vlm.models.eval_mode import at_rest
from x2vlm.models.generation.kv_cache import KVCache
from x2vlm.models.layers.packing import layout_of_mask
from x2vlm.models.layers.shape_rounding import check_shapes, ladder_of
from x2vlm.models.text.exchange_words import exchange_words
from x2vlm.models.text.hf_attention import cast_once_before, register_attention
from x2vlm.models.text.hf_settings import (
    OWN_ATTENTION,
    PACKED,
    make_network,
    read_settings,
    set_depth,
    set_drop_path,
    set_dropout,
)
from x2vlm.models.text.padding_check import SUMMARIES, probe, reading_problems
from x2vlm.registry import TEXT_ENCODERS
from x2vlm.weights.tower_weights import choose_layers, fill, read_bert

# Arguments that a portable config does without: what they name need not exist where it is used.
_SOURCES = ("path", "config", "depth", "layers", "word_embeddings")


@TEXT_ENCODERS.register_module()
class HFTextEncoder(nn.Module):
    """An encoder of transformers, whole or its lower layers.

    It computes what transformers computes, or refuses: encoders with a decoder, networks that do not leave out padding,
    and those that read from left to right unless ``summary`` is ``last``. docs/models.md lists the types.

    Args:
        path: Folder or hub name with weights. Either this or ``config``.
        config: Settings for fresh weights, with ``model_type`` (``bert``, ``roberta``, ``xlm-roberta``, ...) and
            whatever that type's configuration takes. ``vocab_size`` is taken from the tokenizer where it is not given.
        depth: Keep only this many lower layers (X2-VLM takes the text layers of a deeper BERT). All where not given.
        layers: Layers of ``path`` to use, before the lower ones are taken: ``range(1, 24, 2)`` makes the 12 layers
            of the published large models out of BERT-large. All where not given.
        dropout: Replaces the model's own probability for hidden states and attention weights, if given.
        drop_path: Stochastic depth of the last layer; earlier layers linearly less, the first one none. Where it is
            not 0 it takes the place of dropout of hidden states; that of embeddings and attention weights stays.
        drop_path_unit: ``samples``, or ``positions`` as published; see
            :class:`~x2vlm.models.layers.drop_path.DropPath`.
        vocab_size: Size of the tokenizer's vocabulary; fills ``config`` and is checked against ``path``.
        pad_token_id: The tokenizer's padding id; fills ``config`` where it is not given.
        attention: Attention backend of the types that docs/models.md lists for it; the others, and all with ``native``,
            keep transformers' own attention.
        word_embeddings: Folder or hub name of another network, of the tokenizer's vocabulary, whose word embeddings
            take the place of this one's; all else stays (see :mod:`x2vlm.models.text.exchange_words`).
        shapes: Whether numbers of tokens and texts are rounded up to a few sizes; see
            :func:`~x2vlm.models.layers.shape_rounding.ladder_of`.
        summary: Which token stands for a whole text: ``first``, or ``last`` (the last real one) for networks that read
            from left to right.

    Raises:
        ValueError: If an argument has no meaning, or the network cannot serve; the sentence says why.
        FileNotFoundError: If ``path`` is a folder that does not exist.
    """

    def __init__(
        self,
        path: str | None = None,
        config: dict[str, Any] | None = None,
        depth: int | None = None,
        layers: Sequence[int] | None = None,
        dropout: float | None = None,
        drop_path: float = 0.0,
        drop_path_unit: str = "samples",
        vocab_size: int | None = None,
        pad_token_id: int | None = None,
        attention: str = "auto",
        word_embeddings: str | None = None,
        shapes: str = "auto",
        summary: str = "first",
    ) -> None:
        super().__init__()
        if summary not in SUMMARIES:
            raise ValueError(f"summary='{summary}' is not known. Accepted: {', '.join(SUMMARIES)}.")
        self.shapes = check_shapes(shapes)
        if (path is None) == (config is None):
            raise ValueError(
                "HFTextEncoder takes either path (a folder or hub name) or config (fresh weights), not both."
            )
        settings = read_settings(path, config, None if word_embeddings else vocab_size, pad_token_id)
        if layers is not None:
            settings.num_hidden_layers = min(len(layers), settings.num_hidden_layers)
        if depth is not None:
            set_depth(settings, depth, path or "config")
        if dropout is not None:
            set_dropout(settings, dropout)
        self._is_own = attention != "native" and settings.model_type in OWN_ATTENTION
        self.net = make_network(
            path if layers is None else None, settings, register_attention(attention) if self._is_own else None
        )
        if layers is not None:
            if path is None:
                raise ValueError(
                    "layers names layers of weights, but there is no path. Set num_hidden_layers in config."
                )
            fill(self.net, choose_layers(read_bert(path), layers[: settings.num_hidden_layers]), path)
        if word_embeddings is not None:
            exchange_words(self.net, word_embeddings, pad_token_id)
            settings = self.net.config
            if vocab_size is not None and vocab_size > settings.vocab_size:
                raise ValueError(
                    f"the tokenizer has {vocab_size} words but word_embeddings={word_embeddings!r} has "
                    f"{settings.vocab_size}. Use the tokenizer that belongs to it."
                )
        if drop_path:
            set_drop_path(self.net, drop_path, drop_path_unit)
        self.width: int = settings.hidden_size
        self.vocab_size: int = settings.vocab_size
        self.pad_token_id: int = settings.pad_token_id or 0  # some types have none; what stands there is masked
        self.source: str | None = path  # its word head is there too, if it has one
        self.summary = summary
        # Stochastic depth counts texts, or positions in them, which one long text has not.
        self._packs = self._is_own and not drop_path and settings.model_type in PACKED
        self._takes_positions = "position_ids" in inspect.signature(self.net.forward).parameters
        if settings.model_type in PACKED:
            cast_once_before([layer.attention.self for layer in self.net.encoder.layer])
        if settings.model_type not in OWN_ATTENTION:
            self._check_reading()
        elif summary == "last" and settings.model_type in PACKED:
            raise ValueError(f"'{settings.model_type}' reads both ways: its first token is the summary. Leave it out.")

    def _check_reading(self) -> None:
        """Run a network that no test has compared, and refuse one that cannot serve."""
        weight = next(self.net.parameters())
        if weight.is_meta:
            return
        name = f"'{self.net.config.model_type}'"
        try:
            with at_rest(self):
                found = probe(self, self.vocab_size, self.pad_token_id, weight.device)
        except Exception as error:  # foreign code: whatever it raises, it cannot encode these texts
            raise ValueError(f"{name} cannot encode texts with padding: {type(error).__name__}: {error}") from error
        if found.shape[-1] != self.width:
            raise ValueError(f"{name} gives states of {found.shape}; expected the last dimension to be {self.width}.")
        if problems := reading_problems(found, name, self.summary):
            raise ValueError(" ".join(problems))

    @property
    def word_embeddings(self) -> Tensor:
        """``[V, D]``, the input embeddings; a tied decoder reads them."""
        return self.net.get_input_embeddings().weight

    @property
    def first_position(self) -> int:
        """The position of a first token: 0; in RoBERTa and XLM-R the one after the padding position."""
        embeddings = getattr(getattr(self.net, "embeddings", None), "position_embeddings", None)
        padding = getattr(embeddings, "padding_idx", None)
        return 0 if padding is None else padding + 1

    def pretrained_names(self) -> set[str]:
        """Parameters that came with weights."""
        return {name for name, _ in self.named_parameters()} if self.source is not None else set()

    def portable_config(self, config: dict[str, Any]) -> dict[str, Any]:
        """The config with which this encoder is built where ``path`` does not exist: with fresh weights.

        A class on top of this one that fills ``path`` or ``config`` itself keeps its arguments as they were given.
        """
        if not {"path", "config"} <= arguments(type(self))[0].keys():
            return config
        settings = json.loads(self.net.config.to_json_string(use_diff=True))
        not_sizes = ("architectures", "transformers_version", "dtype", "torch_dtype")
        sizes = {key: value for key, value in settings.items() if not key.startswith("_") and key not in not_sizes}
        sizes |= {"vocab_size": self.vocab_size, "pad_token_id": self.pad_token_id}
        rest = {key: value for key, value in config.items() if key not in _SOURCES}
        return rest | {"config": sizes}

    def set_activation_checkpointing(self, on: bool) -> None:
        """Recompute activations in the backward pass, to save memory."""
        if on:  # transformers renames this method; the old name goes with its version 6
            enable = (
                getattr(self.net, "activation_checkpointing_enable", None) or self.net.gradient_checkpointing_enable
            )
            enable({"use_reentrant": False})
        else:
            self.net.gradient_checkpointing_disable()

    def forward(
        self,
        text_ids: Tensor,
        text_mask: Tensor,
        positions: Tensor | None = None,
        host_mask: np.ndarray | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """``[B, L]`` ids and bool mask -> ``[B, L, D]``.

        Args:
            text_ids: ``[B, L]``.
            text_mask: ``[B, L]``, True at real tokens; ``[B, L, L]`` with a row for every query token (and
                more columns with a cache: those of earlier tokens come first).
            positions: ``[B, L]`` or ``[1, L]`` position of each token as the network counts them; its own count if not
                given.
            host_mask: ``text_mask`` in main memory, an array, if it is at hand; else a device is waited for.
            cache: Keys and values of the tokens that were read before; is extended, but by transformers' own attention.

        Raises:
            ValueError: If the network takes no mask for every token, or no positions.
        """
        if self._packs and text_mask.dim() == 2 and cache is None:
            return self._packed(text_ids, text_mask.cpu().numpy() if host_mask is None else host_mask, positions)
        kind = self.net.config.model_type
        if text_mask.dim() == 3 and kind not in OWN_ATTENTION:
            raise ValueError(
                f"'{kind}' cannot read a text with a mask of its own for every token, as captions are learned and "
                f"written. Use a type that can: {', '.join(OWN_ATTENTION)}."
            )
        mask = text_mask.long() if text_mask.dim() == 2 else text_mask[:, None]
        given = {} if cache is None or not self._is_own else {"x2vlm_cache": cache}
        if positions is not None:
            if not self._takes_positions:
                raise ValueError(f"'{kind}' counts positions by itself and takes none.")
            given["position_ids"] = positions
        return self.net(input_ids=text_ids, attention_mask=mask, **given).last_hidden_state

    def _packed(self, text_ids: Tensor, host_mask: np.ndarray, positions: Tensor | None) -> Tensor:
        """Encode the real tokens only, packed, with attention within each text; 0 at padding."""
        rows, columns = text_ids.shape
        layout = layout_of_mask(host_mask, ladder_of(self.shapes, text_ids.device)).to(text_ids.device)
        room = (0, layout.size - columns, 0, layout.groups - rows)
        if positions is None:
            positions = self._positions(text_ids)
        padded = (F.pad(each.expand(rows, -1), room) for each in (text_ids, positions))
        ids, positions = (layout.pack(each)[None] for each in padded)
        hidden = self.net(input_ids=ids, position_ids=positions, x2vlm_layout=layout).last_hidden_state
        return layout.zero_padded(hidden[0])[:rows, :columns]

    def _positions(self, text_ids: Tensor) -> Tensor:
        """``[B, L]`` or ``[1, L]`` positions as the network counts them: RoBERTa and XLM-R leave out padding tokens."""
        if self.first_position == 0:
            return torch.arange(text_ids.shape[1], device=text_ids.device)[None]
        real = text_ids != self.first_position - 1
        return real.cumsum(dim=1) * real + self.first_position - 1
