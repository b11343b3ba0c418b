"""Text encoders beside transformers itself: every text type that can be made tiny, with the same weights.

Shape letters: B texts, L tokens, D width.
"""

import logging
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModel
from transformers.models.auto import modeling_auto

from x2vlm.models.text.hf import HFTextEncoder
from x2vlm.models.text.hf_settings import unfit

LARGEST = 20_000_000  # parameters of what counts as tiny
TOLERANCE = 1e-4  # share of the largest state
_LONGEST = 320  # characters of a reason
TINY = dict(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
_MORE = dict(max_position_embeddings=64, pad_token_id=1, bos_token_id=2, eos_token_id=3)
_HEADS = dict(num_key_value_heads=1, head_dim=8)
_OWN = {  # what some types need besides
    "esm": dict(mask_token_id=4, position_embedding_type="rotary"),
    "codegen": dict(rotary_dim=4),
    "gptj": dict(rotary_dim=4),
    "falcon_h1": dict(mamba_d_ssm=16, mamba_n_heads=2, mamba_d_head=8, mamba_d_state=4, mamba_chunk_size=4),
    "squeezebert": dict(embedding_size=16),
    "xlnet": dict(d_model=16, d_inner=32, n_layer=2, n_head=2),
    "gpt_neo": dict(attention_types=[[["global"], 2]], num_layers=2),
    "xmod": dict(default_language="en_XX", languages=["en_XX"]),
    "funnel": dict(block_sizes=[1, 1], num_hidden_layers=None),
}
_MAPPINGS = ("MODEL_FOR_MASKED_LM", "MODEL_FOR_CAUSAL_LM", "MODEL_FOR_TEXT_ENCODING")
_ALSO = ("clip_text_model", "siglip_text_model", "bart", "t5", "clip")


@dataclass(frozen=True)
class Comparison:
    """One type of transformers.

    Attributes:
        kind: Its ``model_type``.
        verdict: ``equal``, ``equal, left to right`` (with ``summary='last'``), ``refused``, ``differs``, ``not tried``.
        difference: The largest difference at a real token, as a share of the largest state; None where not compared.
        reason: Why it is refused or was not tried.
    """

    kind: str
    verdict: str
    difference: float | None = None
    reason: str = ""


def text_types() -> list[str]:
    """The types of transformers that guess words or are listed as text encoders, sorted."""
    listed = (getattr(modeling_auto, f"{name}_MAPPING_NAMES") for name in _MAPPINGS)
    return sorted({*_ALSO, *(kind for names in listed for kind in names)} & set(modeling_auto.MODEL_MAPPING_NAMES))


def compare(kind: str) -> Comparison:
    """Compare one type, with and without padding; never raises for what transformers cannot do."""
    with _silent():
        try:
            config, reference = tiny(kind)
        except Exception as error:  # transformers is foreign code with hundreds of types: what cannot be made is listed
            return Comparison(kind, "not tried", reason=f"{type(error).__name__}: {_shortened(error)}")
        try:
            encoder, verdict = HFTextEncoder(config=config), "equal"
        except ValueError as error:
            if "reads from left to right" not in str(error) or "leave out padding" in str(error):
                return Comparison(kind, "refused", reason=_shortened(error))
            encoder, verdict = HFTextEncoder(config=config, summary="last"), "equal, left to right"
        difference = largest_difference(encoder, reference)
    if difference > TOLERANCE:
        return Comparison(kind, "differs", difference)
    return Comparison(kind, verdict, difference)


def tiny(kind: str) -> tuple[dict[str, Any], nn.Module]:
    """A config for :class:`HFTextEncoder`, and transformers' network of it, which computes attention as written out.

    Raises:
        Exception: Whatever transformers raises where the type cannot be made so small.
    """
    errors = []
    for more, attention in product(
        ({**_MORE, **_HEADS}, {**_MORE, "num_key_value_heads": 2}, _MORE, {}), ("eager", None)
    ):
        config = {"model_type": kind, **TINY, **more, **_OWN.get(kind, {})}
        config = {key: value for key, value in config.items() if value is not None}
        try:
            settings = AutoConfig.for_model(**config)
            if unfit(settings):
                return config, nn.Identity()  # which HFTextEncoder will not come to
            return config, _reference(settings, attention)
        except Exception as error:  # the next way to be tiny
            errors.append(error)
    raise errors[0]


def _reference(settings: Any, attention: str | None) -> nn.Module:
    settings.use_cache = False
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in AutoModel.from_config(settings).parameters())
    if size > LARGEST:
        raise ValueError(f"it has {size / 1e6:.0f} million parameters at the smallest sizes that were tried")
    net = AutoModel.from_config(settings, attn_implementation=attention)
    net.eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():  # fresh weights are so small that attention is nearly even
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3, generator=generator)
        net(input_ids=torch.full((1, 4), 7), attention_mask=torch.ones(1, 4, dtype=torch.long))
    return net


def largest_difference(encoder: HFTextEncoder, reference: nn.Module) -> float:
    """With the reference's weights: the largest difference at a real token, as a share of the largest state."""
    lacking = encoder.net.load_state_dict(reference.state_dict(), strict=False).missing_keys
    assert not lacking, lacking
    ids = torch.randint(5, 40, (3, 9), generator=torch.Generator().manual_seed(1))
    full = torch.ones_like(ids, dtype=torch.bool)
    padded = torch.arange(9) < torch.tensor([9, 4, 6])[:, None]
    found = 0.0
    for mask in (full, padded):
        given = ids.masked_fill(~mask, encoder.pad_token_id)
        with torch.no_grad():
            ours = encoder.eval()(given, mask)[mask]
            theirs = reference(input_ids=given, attention_mask=mask.long()).last_hidden_state[mask]
        found = max(found, float((ours - theirs).abs().max() / theirs.abs().max()))
    return found


@contextmanager
def _silent() -> Iterator[None]:
    """Transformers warns of settings that nobody would train with."""
    level, seed = transformers.logging.get_verbosity(), torch.random.fork_rng(devices=[])
    transformers.logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), seed:
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            yield
    finally:
        transformers.logging.set_verbosity(level)


def _shortened(error: Exception) -> str:
    return textwrap.shorten(str(error), _LONGEST, placeholder=" ...")
