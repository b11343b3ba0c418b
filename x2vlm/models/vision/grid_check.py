"""Whether the tokens of a vision encoder stand where the image is: found by changing one corner of it after another.

Shape letters: U images, N tokens, D width.
"""

import torch
from torch import Tensor

_CONTRAST = 0.3  # added to a corner; images have a standard deviation of 1
_SMALLEST = 4  # rows and columns; in smaller grids every token has seen the whole image
_CLEARLY = 4.0  # how often as far along the wrong axis as along the right one


def corner_images(image_size: tuple[int, int]) -> Tensor:
    """``[5, 3, H, W]``: an image, and that image with another upper left, upper right, lower left, lower right."""
    image = torch.randn(1, 3, *image_size, generator=torch.Generator().manual_seed(0))
    images, (height, width) = [image], (max(1, side // 4) for side in image_size)
    for rows in (slice(height), slice(-height, None)):
        for columns in (slice(width), slice(-width, None)):
            images.append(image.clone())
            images[-1][:, :, rows, columns] += _CONTRAST
    return torch.cat(images)


def corner_centres(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Where the tokens change with each corner of the image.

    Args:
        tokens: ``[5, N, D]``, those of :func:`corner_images`.
        grid: Rows and columns of tokens.

    Returns:
        ``[2, 2, 2]``: by corner (upper or lower, left or right) the row and column of the centre of mass of the change,
        as shares of the grid; NaN where nothing changes.
    """
    change = (tokens[1:] - tokens[:1]).float().abs().sum(dim=-1).view(4, *grid)
    share = change / change.sum(dim=(1, 2), keepdim=True)
    places = [torch.arange(count, device=share.device) / count for count in grid]
    rows, columns = (share.sum(dim=2) * places[0]).sum(dim=1), (share.sum(dim=1) * places[1]).sum(dim=1)
    return torch.stack([rows, columns], dim=1).view(2, 2, 2)


def follows_grid(centres: Tensor) -> bool:
    """Whether another row of the image moves what changes by rows, and another column by columns."""
    down, right = _shifts(centres)
    return bool((down[:, 0] > 0).all() and (right[:, 1] > 0).all())


def order_problem(tokens: Tensor, grid: tuple[int, int]) -> tuple[str, bool]:
    """What is wrong with the order of tokens, as the end of a sentence, and whether that is sure.

    Nothing is said of small grids, in which every token has seen the whole image.

    Args:
        tokens: ``[5, N, D]``, those of :func:`corner_images`.
        grid: Rows and columns of tokens.
    """
    if min(grid) < _SMALLEST:
        return "", False
    centres = corner_centres(tokens, grid)
    if not bool(centres.isfinite().all()) or follows_grid(centres):
        return "", False
    down, right = (shift.mean(dim=0) for shift in _shifts(centres))
    if down[1] > _CLEARLY * abs(down[0]) and right[0] > _CLEARLY * abs(right[1]):
        return "gives tokens column by column: a lower corner of the image changes tokens further to the right", True
    return "gives tokens that do not seem to follow the image: a change elsewhere in it does not move with it", False


def _shifts(centres: Tensor) -> tuple[Tensor, Tensor]:
    """``[2, 2]`` each: how far the change moves, in rows and columns, with a lower corner and with a right one."""
    return centres[1] - centres[0], centres[:, 1] - centres[:, 0]
