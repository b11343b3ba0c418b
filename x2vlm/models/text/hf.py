"""Any transformers encoder as a text encoder: BERT, RoBERTa, XLM-R, domain models.

Shape letters: B texts, L tokens, D width, V words.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from x2vlm.models.generation.kv_cache import KVCache
from x2vlm.models.layers.drop_path import DropPath, linear_rates
from x2vlm.models.layers.packing import layout_of_mask
from x2vlm.models.layers.shape_rounding import check_shapes, ladder_of
from x2vlm.models.text.hf_attention import cast_once_before, register_attention
from x2vlm.registry import TEXT_ENCODERS
from x2vlm.weights.tower_weights import choose_layers, fill, read_bert
from x2vlm.weights.weight_files import read_tensors

# Model types whose tokens depend on position only beside attention, so that their texts can be packed.
PACKED = ("bert", "roberta", "xlm-roberta", "camembert")


@TEXT_ENCODERS.register_module()
class HFTextEncoder(nn.Module):
    """An encoder of transformers, whole or its lower layers.

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
        attention: Attention backend; ``native`` leaves the model to transformers' own attention.
        shapes: Whether numbers of tokens and texts are rounded up to a few sizes; see
            :func:`~x2vlm.models.layers.shape_rounding.ladder_of`.
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
        shapes: str = "auto",
    ) -> None:
        super().__init__()
        self.shapes = check_shapes(shapes)
        if (path is None) == (config is None):
            raise ValueError(
                "HFTextEncoder takes either path (a folder or hub name) or config (fresh weights), not both."
            )
        settings = _settings(path, config, vocab_size, pad_token_id)
        if layers is not None:
            settings.num_hidden_layers = min(len(layers), settings.num_hidden_layers)
        if depth is not None:
            if depth > settings.num_hidden_layers:
                raise ValueError(f"depth={depth} but {path or 'config'} has {settings.num_hidden_layers} layers.")
            settings.num_hidden_layers = depth
        if dropout is not None:
            settings.hidden_dropout_prob = settings.attention_probs_dropout_prob = dropout
        settings._attn_implementation = "sdpa" if attention == "native" else register_attention(attention)
        as_it_is = path is not None and layers is None
        self.net = _pretrained(path, settings) if as_it_is else AutoModel.from_config(settings)
        if hasattr(self.net, "pooler"):
            self.net.pooler = None  # nothing here reads it, and DDP would wait for its gradient
        if layers is not None:
            if path is None:
                raise ValueError(
                    "layers names layers of weights, but there is no path. Set num_hidden_layers in config."
                )
            fill(self.net, choose_layers(read_bert(path), layers[: settings.num_hidden_layers]), path)
        if drop_path:
            set_drop_path(self.net, drop_path, drop_path_unit)
        self.width: int = settings.hidden_size
        self.vocab_size: int = settings.vocab_size
        self.pad_token_id: int = settings.pad_token_id
        self.source: str | None = path  # its word head is there too, if it has one
        # Stochastic depth counts texts, or positions in them, which one long text has not.
        self._packs = attention != "native" and not drop_path and settings.model_type in PACKED
        if settings.model_type in PACKED:
            cast_once_before([layer.attention.self for layer in self.net.encoder.layer])

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
        """The config with which this encoder is built where ``path`` does not exist: with fresh weights."""
        settings = json.loads(self.net.config.to_json_string(use_diff=True))
        not_sizes = ("architectures", "transformers_version", "dtype", "torch_dtype")
        sizes = {key: value for key, value in settings.items() if not key.startswith("_") and key not in not_sizes}
        sizes |= {"vocab_size": self.vocab_size, "pad_token_id": self.pad_token_id}
        rest = {key: value for key, value in config.items() if key not in ("path", "config", "depth", "layers")}
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
            host_mask: ``text_mask`` in main memory, an array; without it the device is waited for.
            cache: Keys and values of earlier tokens; is extended.
        """
        if self._packs and text_mask.dim() == 2 and cache is None:
            return self._packed(text_ids, text_mask.cpu().numpy() if host_mask is None else host_mask, positions)
        mask = text_mask.long() if text_mask.dim() == 2 else text_mask[:, None]
        extra = {} if cache is None else {"x2vlm_cache": cache}
        return self.net(input_ids=text_ids, attention_mask=mask, position_ids=positions, **extra).last_hidden_state

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


def _pretrained(path: str, settings: Any) -> nn.Module:
    try:
        return AutoModel.from_pretrained(path, config=settings, trust_remote_code=False)
    except Exception:  # what it raises depends on where a file is broken, and torch advises to run what is in it
        if Path(path).expanduser().is_dir():
            read_tensors(path)  # says what is wrong with the file
        raise


def _settings(path: str | None, config: dict[str, Any] | None, vocab_size: int | None, pad_token_id: int | None) -> Any:
    if path is not None:
        if "/" in path and path.startswith((".", "/", "~")) and not Path(path).expanduser().is_dir():
            raise FileNotFoundError(
                f"text encoder folder {path} does not exist. Give a folder made by save_pretrained."
            )
        settings = AutoConfig.from_pretrained(path, trust_remote_code=False)
        if vocab_size is not None and vocab_size > settings.vocab_size:
            raise ValueError(
                f"the tokenizer has {vocab_size} words but the text encoder {path} has embeddings for "
                f"{settings.vocab_size}. Use the tokenizer that belongs to it."
            )
        return settings
    options = dict(config)
    if "model_type" not in options:
        raise ValueError(
            f"text encoder config needs model_type, e.g. 'bert'. Given: {', '.join(sorted(options)) or 'nothing'}."
        )
    if vocab_size is not None:
        options.setdefault("vocab_size", vocab_size)
    if pad_token_id is not None:
        options.setdefault("pad_token_id", pad_token_id)
    return AutoConfig.for_model(options.pop("model_type"), **options)


def set_drop_path(net: nn.Module, last: float, unit: str) -> None:
    """Replace hidden dropout by stochastic depth, linearly up to ``last`` over a network's layers.

    Raises:
        ValueError: If the layers are not built like BERT's (residual branches that end in a dropout of their own).
    """
    layers = getattr(getattr(net, "encoder", None), "layer", None)
    if layers is None:
        raise ValueError(f"drop_path needs layers like BERT's, which {type(net).__name__} has not. Set drop_path=0.")
    for layer, rate in zip(layers, linear_rates(last, len(layers)), strict=True):
        for branch in (layer.attention.output, layer.output):
            branch.dropout = DropPath(rate, unit)
