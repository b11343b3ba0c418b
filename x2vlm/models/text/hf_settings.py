"""Networks of transformers as text encoders: their settings, which of them serve, and their weights."""

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn
from transformers import AutoConfig, AutoModel
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from x2vlm.models.layers.drop_path import DropPath, linear_rates
from x2vlm.weights.read_weights import read_tensors

# Types whose attention may go through this library's: tests compare each with transformers. Others keep their own.
OWN_ATTENTION = (
    *("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "albert", "ernie", "bert-generation"),
    *("data2vec-text", "roberta-prelayernorm", "xlm-roberta-xl", "roc_bert"),
)
# Of these, types in which a token's position is all that attention does not see: their texts can stand one behind the
# other.
PACKED = ("bert", "roberta", "xlm-roberta", "camembert")

_ALWAYS_POOLED = ("layoutlm", "squeezebert")
_DROPOUTS = (
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "hidden_dropout", "attention_dropout", "dropout"),
    *("embd_pdrop", "resid_pdrop", "attn_pdrop", "embedding_dropout", "mlp_dropout", "emb_dropout", "residual_dropout"),
)


def read_settings(
    path: str | None, config: dict[str, Any] | None, vocab_size: int | None, pad_token_id: int | None
) -> Any:
    """The configuration of transformers for a folder, or for fresh weights.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If the type is not named or unknown, is no text encoder, or has fewer words than the tokenizer.
    """
    if path is not None:
        if "/" in path and path.startswith((".", "/", "~")) and not Path(path).expanduser().is_dir():
            raise FileNotFoundError(
                f"text encoder folder {path} does not exist. Give a folder made by save_pretrained."
            )
        settings = AutoConfig.from_pretrained(path, trust_remote_code=False)
        _check_kind(settings)
        if vocab_size is not None and vocab_size > settings.vocab_size:
            raise ValueError(
                f"the tokenizer has {vocab_size} words but the text encoder {path} has embeddings for "
                f"{settings.vocab_size}. Use the tokenizer that belongs to it."
            )
        return settings
    known = dict(config)
    if "model_type" not in known:
        raise ValueError(
            f"text encoder config needs model_type, e.g. 'bert'. Given: {', '.join(sorted(known)) or 'nothing'}."
        )
    if vocab_size is not None:
        known.setdefault("vocab_size", vocab_size)
    if pad_token_id is not None:
        known.setdefault("pad_token_id", pad_token_id)
    settings = AutoConfig.for_model(known.pop("model_type"), **known)
    _check_kind(settings)
    return settings


def unfit(settings: Any) -> str:
    """Why a configuration of transformers is not that of a text encoder; empty if it is."""
    kind, parts = settings.model_type, getattr(settings, "sub_configs", None) or {}
    if "text_config" in parts:
        part = getattr(parts["text_config"], "model_type", "")
        if part and part != kind and parts["text_config"] not in MODEL_MAPPING:
            return f"'{kind}' has several parts, and transformers builds '{part}' only inside it. Use another encoder."
        named = f": model_type='{part}'" if part and part != kind else ""
        return f"'{kind}' has several parts. Name the one that reads text{named}."
    if getattr(settings, "is_encoder_decoder", False):
        return f"'{kind}' is an encoder with a decoder, not a text encoder. Use one that only encodes."
    lacking = [key for key in ("vocab_size", "hidden_size", "num_hidden_layers") if not hasattr(settings, key)]
    if lacking:
        return f"'{kind}' is no text encoder: its configuration has no {', '.join(lacking)}."
    if type(settings) not in MODEL_MAPPING:
        return f"transformers builds '{kind}' only inside another model. Use another encoder."
    return ""


def _check_kind(settings: Any) -> None:
    if reason := unfit(settings):
        raise ValueError(reason)


def set_depth(settings: Any, depth: int, title: str) -> None:
    """Keep only the lower layers.

    Raises:
        ValueError: If there are not so many.
    """
    if depth > settings.num_hidden_layers:
        raise ValueError(f"depth={depth} but {title} has {settings.num_hidden_layers} layers.")
    settings.num_hidden_layers = depth
    kinds = getattr(settings, "layer_types", None)
    if kinds is not None:
        settings.layer_types = kinds[:depth]


def set_dropout(settings: Any, dropout: float) -> None:
    """Set every probability of dropout that a type has.

    Raises:
        ValueError: If none is known.
    """
    there = [name for name in _DROPOUTS if hasattr(settings, name)]
    if not there:
        raise ValueError(f"'{settings.model_type}' has no dropout that could be set. Leave dropout out.")
    for name in there:
        setattr(settings, name, dropout)


def make_network(path: str | None, settings: Any, attention: str | None) -> nn.Module:
    """The network, with weights of ``path`` or fresh ones, without its pooler.

    Args:
        path: Folder or hub name of the weights; None for fresh ones.
        settings: As :func:`read_settings` gave it.
        attention: A name registered with transformers; None leaves the choice to transformers.

    Raises:
        ValueError: If transformers cannot build it, or it does not take a mask of the real tokens.
    """
    settings.use_cache = False  # of decoders, whose earlier tokens nobody asks for again
    if attention is not None:
        settings._attn_implementation = attention
    try:
        net = AutoModel.from_config(settings) if path is None else _pretrained(path, settings)
    except (KeyError, AttributeError, AssertionError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"transformers cannot build '{settings.model_type}' from these settings: {reason}") from error
    takes = inspect.signature(net.forward).parameters
    if "attention_mask" not in takes or "input_ids" not in takes:
        raise ValueError(
            f"'{settings.model_type}' cannot leave out padding: its forward takes {', '.join(takes)}, and a text "
            "encoder needs input_ids and attention_mask. Use another type."
        )
    if hasattr(net, "pooler"):  # nothing here reads it, and DDP would wait for its gradient
        net.pooler = _NoPooler() if settings.model_type in _ALWAYS_POOLED else None
    return net


class _NoPooler(nn.Module):
    """For networks that call their pooler without asking whether there is one."""

    def forward(self, *_: Any) -> None:
        """Nothing."""


def _pretrained(path: str, settings: Any) -> nn.Module:
    try:
        return AutoModel.from_pretrained(path, config=settings, trust_remote_code=False)
    except Exception:  # what it raises depends on where a file is broken, and torch advises to run what is in it
        if Path(path).expanduser().is_dir():
            read_tensors(path)  # says what is wrong with the file
        raise


def set_drop_path(net: nn.Module, last: float, unit: str) -> None:
    """Put stochastic depth in the place of hidden dropout, linearly up to ``last`` over a network's layers.

    Raises:
        ValueError: If the layers are not built like BERT's (residual branches that end in a dropout of their own).
    """
    layers: Iterable[nn.Module] | None = getattr(getattr(net, "encoder", None), "layer", None)
    if layers is None or not all(_ends_in_dropout(layer) for layer in layers):
        raise ValueError(f"drop_path needs layers like BERT's, which {type(net).__name__} has not. Set drop_path=0.")
    for layer, rate in zip(layers, linear_rates(last, len(layers)), strict=True):
        for branch in (layer.attention.output, layer.output):
            branch.dropout = DropPath(rate, unit)


def _ends_in_dropout(layer: nn.Module) -> bool:
    attention = getattr(layer, "attention", None)
    return all(hasattr(getattr(part, "output", None), "dropout") for part in (attention, layer))
