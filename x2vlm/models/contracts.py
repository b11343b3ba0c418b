"""What a tower of a plugin must be and give: it is run once on two tiny samples when the model is built.

Shape letters: U images, N patches, B texts, L tokens, D width, V words.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor

from x2vlm.models.fusion.requests import FusionRequest, fuse
from x2vlm.models.outputs import Context, TextStates
from x2vlm.models.text.reading_probe import SUMMARIES, at_rest, probe, reading_problems
from x2vlm.part_errors import ConfigError, is_foreign

_TEXTS, _TOKENS, _PATCHES = 2, 4, 3


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


def vision_problems(encoder: Any) -> list[str]:
    """What breaks the contract of a vision encoder, a sentence each; empty where nothing does."""
    name = type(encoder).__name__
    if problems := [*_module_problems(encoder), *_attribute_problems(encoder, ("width", "grid", "image_size"))]:
        return problems
    problems = (
        [] if _is_count(encoder.width) else [f"{name}.width is {encoder.width!r}; expected a number of features."]
    )
    if not _is_pair(encoder.grid):
        problems.append(f"{name}.grid is {encoder.grid!r}; expected (rows, columns) of tokens, e.g. (7, 7).")
    size = encoder.image_size
    size = (size, size) if _is_count(size) else size
    if not _is_pair(size):
        problems.append(f"{name}.image_size is {size!r}; expected (rows, columns) of pixels, or one number.")
    if problems or not _has_numbers(encoder):
        return problems
    count = encoder.grid[0] * encoder.grid[1]
    wanted = f"(tokens [U, {count}, {encoder.width}], summary [U, {encoder.width}] or None)"
    given = f"{name}.forward of images [2, 3, {size[0]}, {size[1]}]"
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    result, problem = _run(encoder, given, lambda: encoder(images.to(_device(encoder))))
    if problem:
        return [problem]
    return [f"{name}.forward {found}; expected {wanted}.{hint}" for found, hint in _vision_outputs(encoder, result)]


def _vision_outputs(encoder: Any, result: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with an output, and what to do."""
    if not isinstance(result, tuple) or len(result) != 2:
        yield f"returned {_described(result)}", ""
        return
    tokens, summary = result
    rows, columns = encoder.grid
    if not isinstance(tokens, Tensor) or not tokens.is_floating_point():
        yield f"returned {_described(tokens)} as tokens", ""
    elif tokens.dim() == 4:
        yield f"returned a map {_described(tokens)} as tokens", " Write tokens.flatten(2).transpose(1, 2)."
    elif tuple(tokens.shape) == (2, rows * columns + 1, encoder.width):
        yield f"returned tokens {_shape(tokens)}, one too many", " If the first is [CLS], give it as the summary."
    elif tuple(tokens.shape) != (2, rows * columns, encoder.width):
        hint = f" It says width={encoder.width} and grid=({rows}, {columns})."
        yield f"returned tokens {_shape(tokens)}", hint
    if summary is not None and (not isinstance(summary, Tensor) or tuple(summary.shape) != (2, encoder.width)):
        yield f"returned {_described(summary)} as summary", ""


def text_problems(encoder: Any) -> list[str]:
    """What breaks the contract of a text encoder, a sentence each; empty where nothing does."""
    name, needed = type(encoder).__name__, ("width", "vocab_size", "word_embeddings")
    if problems := [*_module_problems(encoder), *_attribute_problems(encoder, needed)]:
        return problems
    problems = []
    for key in ("width", "vocab_size"):
        if not _is_count(getattr(encoder, key)):
            problems.append(f"{name}.{key} is {getattr(encoder, key)!r}; expected a number.")
    words = encoder.word_embeddings
    if not isinstance(words, Tensor) or words.dim() != 2 or words.shape[0] != encoder.vocab_size:
        problems.append(
            f"{name}.word_embeddings is {_described(words)}; expected the weights [{encoder.vocab_size}, D] of its "
            "word embeddings."
        )
    summary = getattr(encoder, "summary", "first")
    if summary not in SUMMARIES:
        problems.append(f"{name}.summary is {summary!r}; expected one of {', '.join(SUMMARIES)}.")
    if problems or not _has_numbers(encoder):
        return problems
    pad = getattr(encoder, "pad_token_id", 0)
    given = f"{name}.forward of text_ids [3, 5] and text_mask [3, 5]"
    found, problem = _run(encoder, given, lambda: probe(encoder, encoder.vocab_size, pad, _device(encoder)))
    if problem:
        return [problem]
    if found.shape != (3, 5, encoder.width):
        return [f"{given} returned {list(found.shape) or 'no tensor'}; expected states [B, L, {encoder.width}]."]
    return reading_problems(found, name, summary)


def fusion_problems(encoder: Any, text_width: int, context_width: int) -> list[str]:
    """What breaks the contract of a fusion encoder that reads such texts and contexts, a sentence each."""
    name = type(encoder).__name__
    if problems := [*_module_problems(encoder), *_attribute_problems(encoder, ("width",))]:
        return problems
    if not _has_numbers(encoder):
        return []
    device, ones = _device(encoder), torch.ones
    sizes, generator = ((_TOKENS, text_width), (_PATCHES, context_width)), torch.Generator().manual_seed(0)
    embeds, tokens = (torch.randn(_TEXTS, *size, generator=generator).to(device) for size in sizes)
    text = TextStates(embeds, ones(_TEXTS, _TOKENS).bool().to(device))
    mask, owner = ones(_TEXTS, _PATCHES).bool().to(device), torch.arange(_TEXTS, device=device)
    context = Context(tokens, owner, mask, tokens.mean(dim=1), sees_whole=True)
    given = f"{name} of texts {_shape(text.embeds)} and contexts {_shape(tokens)}"
    wanted = (_TEXTS, _TOKENS, encoder.width)
    result, problem = _run(encoder, given, lambda: fuse(encoder, [FusionRequest(text, context)])[0].states)
    if problem:
        return [problem]
    if not isinstance(result, Tensor) or tuple(result.shape) != wanted:
        return [f"{given} returned {_described(result)}; expected states {list(wanted)}."]
    return []


def loss_problem(name: str, objective: Any, result: Any) -> str:
    """What is wrong with what an objective's ``losses`` returned; empty where nothing is."""
    given = f"model.objectives.{name}: {type(objective).__name__}.losses returned"
    wanted = f"expected named scalars, such as {{'loss_{name}': loss}}."
    if not isinstance(result, dict) or not all(isinstance(key, str) for key in result):
        return f"{given} {_described(result)}; {wanted}"
    for key, value in result.items():
        if not isinstance(value, Tensor) or value.numel() != 1:
            return f"{given} {_described(value)} as '{key}'; {wanted} Take a mean, as torch.Tensor.mean does."
    if not any("loss" in key for key in result):
        keys = ", ".join(map(repr, result)) or "nothing"
        return f"{given} {keys}: no name has 'loss' in it, so nothing would be learned; {wanted}"
    return ""


def _module_problems(part: Any) -> list[str]:
    name = type(part).__name__
    if not isinstance(part, nn.Module):
        return [f"{name} is no torch.nn.Module. Derive the class from it."]
    if "_parameters" not in vars(part):
        return [f"{name}.__init__ must call super().__init__() first."]
    return []


def _attribute_problems(part: Any, names: Sequence[str]) -> list[str]:
    lacking = [name for name in names if not hasattr(part, name)]
    return [f"{type(part).__name__} lacks {', '.join(lacking)}; a part of this kind needs {', '.join(names)}."] * bool(
        lacking
    )


def _run(part: nn.Module, given: str, call: Callable[[], Any]) -> tuple[Any, str]:
    try:
        with at_rest(part):
            return call(), ""
    except Exception as error:  # foreign code: whatever it raises, the part cannot do what it must
        place = _innermost(error)
        return None, f"{given} raised {type(error).__name__}: {error}{place}"


def _innermost(error: BaseException) -> str:
    """File and line in which an error was raised."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return "" if frame is None else f" ({frame.tb_frame.f_code.co_filename}, line {frame.tb_lineno})"


def _has_numbers(part: nn.Module) -> bool:
    """Whether a part can be run: tensors that are only shapes tell nothing."""
    return not any(tensor.is_meta or isinstance(tensor, FakeTensor) for tensor in part.parameters())


def _device(part: nn.Module) -> torch.device:
    return next((parameter.device for parameter in part.parameters()), torch.device("cpu"))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_pair(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(map(_is_count, value))


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a Tensor {_shape(value)} of {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {', '.join(map(_described, value)) or 'nothing'}"
    return "None" if value is None else f"{'an' if type(value).__name__[0] in 'aeiou' else 'a'} {type(value).__name__}"
