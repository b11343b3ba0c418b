"""Tokens belong to equal cells of the image: boxes are turned into masks of cells, and back."""

from collections.abc import Sequence


def check_cells(image_size: Sequence[int], grid: Sequence[int], cell: Sequence[int], name: str) -> None:
    """Refuse an image of which cells read less or more than there is.

    Args:
        image_size: Rows and columns of pixels.
        grid: Rows and columns of tokens.
        cell: Rows and columns of pixels that belong to one token.
        name: What to call the encoder.

    Raises:
        ValueError: If grid times cell is not the image; sizes that fit are named.
    """
    read = [count * side for count, side in zip(grid, cell, strict=True)]
    if read == list(image_size):
        return
    fitting = sorted({max(1, pixels // side) * side for pixels, side in zip(image_size, cell, strict=True)})
    fitting = sorted({*fitting, *(fits + side for fits, side in zip(fitting, cell, strict=False))})
    raise ValueError(
        f"image_size {_pair(image_size)} does not fit {name}: its {_pair(grid)} tokens stand for {_pair(cell)} pixels "
        f"each, {_pair(read)} in all, so boxes would lie elsewhere than the tokens. "
        f"Use a multiple of {_pair(cell)}, e.g. {' or '.join(map(str, fitting))}."
    )


def _pair(size: Sequence[int]) -> str:
    rows, columns = size
    return str(rows) if rows == columns else f"{rows} x {columns}"
