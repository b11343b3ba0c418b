"""What a vision encoder of a plugin must be and give: it is run on a few images when the model is built.

Shape letters: U images, N patches, D width.
"""

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from x2vlm.models.input_watch import watch, write_problem
from x2vlm.models.module_checks import (
    attribute_problems,
    described,
    device_of,
    dtype_hint,
    floating_dtypes,
    has_numbers,
    is_count,
    is_pair,
    module_problems,
    run_once,
    shape_text,
)
from x2vlm.models.vision.grid_check import corner_images, order_problem

_ALONE = 1e-3  # share of the largest token; other batch sizes take other kernels


def vision_problems(encoder: Any) -> list[str]:
    """What breaks the contract of a vision encoder, a sentence each; empty where nothing does."""
    name = type(encoder).__name__
    if problems := [*module_problems(encoder), *attribute_problems(encoder, ("width", "grid", "image_size"))]:
        return problems
    problems = [] if is_count(encoder.width) else [f"{name}.width is {encoder.width!r}; expected a number of features."]
    if not is_pair(encoder.grid):
        problems.append(f"{name}.grid is {encoder.grid!r}; expected (rows, columns) of tokens, e.g. (7, 7).")
    size = encoder.image_size
    size = (size, size) if is_count(size) else size
    if not is_pair(size):
        problems.append(f"{name}.image_size is {size!r}; expected (rows, columns) of pixels, or one number.")
    if not problems and any(pixels % count for pixels, count in zip(size, encoder.grid, strict=True)):
        problems.append(
            f"{name}.image_size is {tuple(size)} and {name}.grid is {tuple(encoder.grid)}; expected rows and "
            "columns of pixels that are multiples of those of the grid: boxes would lie elsewhere than the tokens."
        )
    if problems or not has_numbers(encoder):
        return problems
    return _vision_run(encoder, size)


def _vision_run(encoder: nn.Module, size: tuple[int, int]) -> list[str]:
    """What is wrong with the tokens of two images, and with those of one image beside others."""
    name, count = type(encoder).__name__, encoder.grid[0] * encoder.grid[1]
    wanted = f"(tokens [U, {count}, {encoder.width}], summary [U, {encoder.width}] or None)"
    given = f"{name}.forward of images [2, 3, {size[0]}, {size[1]}]"
    images, device = corner_images(size), device_of(encoder)
    two = torch.stack([images[0], images[0].flip(-1)]).to(device)
    watched = watch(images=two)
    result, problem = run_once(encoder, given, lambda: encoder(two))
    if problem := problem or write_problem(encoder, watched):
        return [problem]
    problems = [f"{name}.forward {found}; expected {wanted}.{hint}" for found, hint in _vision_outputs(encoder, result)]
    if problems:
        return problems
    # The first image comes last here, where random numbers are others than those of the first place.
    last = images.flip(0).to(device)
    beside, problem = run_once(encoder, f"{name}.forward of images [5, ...]", lambda: encoder(last)[0].flip(0))
    if problem:
        return [problem]
    alone = float((beside[0] - result[0][0]).abs().max() / result[0][0].abs().max().clamp(min=1e-12))
    if alone > _ALONE and result[0].dtype == torch.float32:
        return [
            f"{name} gives an image other tokens where other images are beside it ({alone:.1e} of the largest one). In "
            "evaluation mode they depend on the image alone: neither on the batch nor on random numbers."
        ]
    return _order_problems(encoder, beside, size)


def _order_problems(encoder: nn.Module, tokens: Tensor, size: tuple[int, int]) -> list[str]:
    """Tokens in a wrong order; what cannot be told for sure is a warning."""
    name, grid = type(encoder).__name__, tuple(encoder.grid)
    cell = [pixels / count for pixels, count in zip(size, grid, strict=True)]
    if max(cell) > 1.5 * min(cell):
        _warn(
            f"{name}.grid is {grid} for images of {size[0]} x {size[1]} pixels, so a token would stand for {cell[0]:g} "
            f"x {cell[1]:g} of them, rows x columns. Is that meant?"
        )
    doubt, is_sure = order_problem(tokens, grid)
    if is_sure:
        return [f"{name} {doubt}. Give them row by row: flatten(2) of a map [U, D, rows, columns]."]
    if doubt:
        _warn(f"{name} {doubt}. Boxes choose tokens by their place: row by row, from the upper left, without [CLS].")
    return []


def _warn(message: str) -> None:
    print_log(message, logger="current", level=30)


def _vision_outputs(encoder: Any, result: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with an output, and what to do."""
    if not isinstance(result, tuple) or len(result) != 2:
        yield f"returned {described(result)}", ""
        return
    (tokens, summary), (rows, columns) = result, encoder.grid
    wanted, dtypes = (2, rows * columns, encoder.width), floating_dtypes(encoder)
    if not isinstance(tokens, Tensor) or not tokens.is_floating_point():
        yield f"returned {described(tokens)} as tokens", ""
    elif tokens.dim() == 4:
        yield f"returned a map {shape_text(tokens)} as tokens", " Write tokens.flatten(2).transpose(1, 2)."
    elif tuple(tokens.shape) == (2, rows * columns + 1, encoder.width):
        yield f"returned tokens {shape_text(tokens)}, one too many", " If the first is [CLS], give it as the summary."
    elif tuple(tokens.shape) != wanted:
        swapped = tuple(tokens.shape) == (2, encoder.width, rows * columns)
        hint = " Write tokens.transpose(1, 2)." if swapped else ""
        yield (
            f"returned tokens {shape_text(tokens)}",
            f" It says width={encoder.width} and grid=({rows}, {columns}).{hint}",
        )
    elif not tokens.isfinite().all():
        yield "returned tokens that are not all finite (NaN or infinite)", ""
    elif tokens.dtype not in dtypes:
        yield f"returned {described(tokens)} as tokens", f" {dtype_hint(dtypes)}"
    if summary is None:
        return
    if not isinstance(summary, Tensor) or tuple(summary.shape) != (2, encoder.width):
        yield f"returned {described(summary)} as summary", ""
    elif summary.dtype not in dtypes:
        yield f"returned {described(summary)} as summary", f" {dtype_hint(dtypes)}"
    elif not summary.isfinite().all():
        yield "returned a summary that is not all finite (NaN or infinite)", ""
