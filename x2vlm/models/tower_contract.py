"""What a tower of a plugin must be and give: it is run once on two tiny samples when the model is built.

Shape letters: U images, N patches, B texts, L tokens, D width, V words.
"""

from typing import Any

import torch
from torch import Tensor, nn

from x2vlm.models.fusion.mask_check import TEXTS, TOKENS, dependence_problems, states_of, tiny_inputs
from x2vlm.models.input_watch import watch, write_problem
from x2vlm.models.module_checks import (
    attribute_problems,
    described,
    device_of,
    dtype_problem,
    has_numbers,
    is_count,
    module_problems,
    run_once,
    shape_text,
)
from x2vlm.models.text.padding_check import SUMMARIES, probe, reading_problems
from x2vlm.models.vision.vision_contract import vision_problems
from x2vlm.part_errors import ConfigError, is_foreign


def check_tower(name: str, tower: Any, width: int | None = None, context_width: int | None = None) -> None:
    """Run a tower that is not the library's own, and refuse it if it breaks its contract.

    Args:
        name: ``vision_encoder``, ``text_encoder`` or ``fusion_encoder``.
        tower: The tower; None is left alone.
        width: Of the texts that a fusion encoder reads.
        context_width: Of the contexts that it reads.

    Raises:
        ConfigError: With every problem, and the tower's place in the config.
    """
    if tower is None or not is_foreign(tower):
        return
    if name == "fusion_encoder":
        problems = fusion_problems(tower, width, context_width)
    else:
        problems = {"vision_encoder": vision_problems, "text_encoder": text_problems}[name](tower)
    if problems:
        raise ConfigError("\n  ".join([*problems, "docs/plugins.md has the contract."]), f"model.{name}")


def text_problems(encoder: Any) -> list[str]:
    """What breaks the contract of a text encoder, a sentence each; empty where nothing does."""
    name, needed = type(encoder).__name__, ("width", "vocab_size", "word_embeddings")
    if problems := [*module_problems(encoder), *attribute_problems(encoder, needed)]:
        return problems
    problems = []
    for key in ("width", "vocab_size"):
        if not is_count(getattr(encoder, key)):
            problems.append(f"{name}.{key} is {getattr(encoder, key)!r}; expected a number.")
    words = encoder.word_embeddings
    if not isinstance(words, Tensor) or words.dim() != 2 or words.shape[0] != encoder.vocab_size:
        hint = " Give its .weight." if isinstance(words, nn.Embedding) else ""
        problems.append(
            f"{name}.word_embeddings is {described(words)}; expected the weights [{encoder.vocab_size}, D] of its "
            f"word embeddings.{hint}"
        )
    summary = getattr(encoder, "summary", "first")
    if summary not in SUMMARIES:
        problems.append(f"{name}.summary is {summary!r}; expected one of {', '.join(SUMMARIES)}.")
    pad = getattr(encoder, "pad_token_id", 0)
    if not isinstance(pad, int):
        problems.append(f"{name}.pad_token_id is {pad!r}; expected the number of the padding token.")
    if problems or not has_numbers(encoder):
        return problems
    return _text_run(encoder, summary, pad)


def _text_run(encoder: nn.Module, summary: str, pad: int) -> list[str]:
    """What is wrong with the states of three tiny texts."""
    name = type(encoder).__name__
    given, wanted = (
        f"{name}.forward of text_ids [3, 5] and text_mask [3, 5]",
        f"expected states [B, L, {encoder.width}]",
    )
    ids = torch.ones(3, 5, dtype=torch.long, device=device_of(encoder))
    mask = ids.bool()
    watched = watch(text_ids=ids, text_mask=mask)
    states, problem = run_once(encoder, given, lambda: encoder(ids, mask))
    if problem := problem or write_problem(encoder, watched):
        return [problem]
    if not isinstance(states, Tensor):
        return [f"{given} returned {described(states)}; {wanted}."]
    if problem := dtype_problem(encoder, states, given, wanted):
        return [problem]
    found, problem = run_once(encoder, given, lambda: probe(encoder, encoder.vocab_size, pad, device_of(encoder)))
    if problem:
        return [problem]
    if found.shape[:1] == (1,) and found.shape != (1, 5, encoder.width):
        given = f"{name}.forward of a text of 3 tokens and 2 of padding"
        return [f"{given} returned {list(found.shape)}; {wanted}, padding included."]
    if found.shape != (3, 5, encoder.width):
        return [f"{given} returned {list(found.shape) or 'no tensor'}; {wanted}."]
    if not states.isfinite().all() or not found.is_finite:
        which = "" if not states.isfinite().all() else ", where texts end in padding"
        return [
            f"{given} returned states that are not all finite (NaN or infinite){which}; {wanted}, finite at "
            "padding too."
        ]
    return reading_problems(found, name, summary)


def fusion_problems(encoder: Any, text_width: int, context_width: int) -> list[str]:
    """What breaks the contract of a fusion encoder that reads such texts and contexts, a sentence each."""
    name = type(encoder).__name__
    if problems := [*module_problems(encoder), *attribute_problems(encoder, ("width",))]:
        return problems
    if not is_count(encoder.width):
        return [f"{name}.width is {encoder.width!r}; expected the number of features of a state."]
    if not has_numbers(encoder):
        return []
    text, context = tiny_inputs(text_width, context_width, device_of(encoder))
    given = f"{name} of texts {shape_text(text.embeds)} and contexts {shape_text(context.tokens)}"
    wanted, watched = (TEXTS, TOKENS, encoder.width), watch(text=text, context=context)
    for seen, note in ((context, ""), (None, " A context of None is plain text: read it without one.")):
        given = given if seen is not None else f"{name} of texts {shape_text(text.embeds)} and no context (None)"
        result, problem = run_once(encoder, given, lambda seen=seen: states_of(encoder, text, seen))
        if problem := problem or write_problem(encoder, watched):
            return [problem + note]
        if not isinstance(result, Tensor) or tuple(result.shape) != wanted:
            return [f"{given} returned {described(result)}; expected states {list(wanted)}.{note}"]
        if problem := dtype_problem(encoder, result, given, f"expected states {list(wanted)}"):
            return [problem]
        if not result[text.mask].isfinite().all():
            return [f"{given} returned states that are not all finite (NaN or infinite)."]
    found, problem = run_once(encoder, given, lambda: list(dependence_problems(encoder, text, context)))
    return [problem] if problem else [f"{name} {ending}" for ending in found]
