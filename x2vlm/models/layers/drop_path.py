"""Stochastic depth for texts: in training, residual branches are dropped at random.

Shape letters: B texts, L tokens, D width.
"""

import torch
from torch import Tensor, nn

from x2vlm.building import suggestion

UNITS = ("samples", "positions")


class DropPath(nn.Module):
    """Drops what a residual branch adds and scales up what is kept; the identity outside training.

    Args:
        rate: Probability of being dropped, in ``[0, 1)``.
        unit: ``"samples"`` draws for each text of the batch (stochastic depth, arXiv:1603.09382). ``"positions"`` draws
            once for each token position, for all texts of the batch alike, as the published code does.
    """

    # Differs from the published code, which drops positions. See docs/differences.md#text-drop-path.

    def __init__(self, rate: float, unit: str = "samples") -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"drop_path is {rate}; expected a probability from 0 to less than 1.")
        if unit not in UNITS:
            raise ValueError(f"drop_path_unit is {unit!r}.{suggestion(unit, UNITS)} Accepted: {', '.join(UNITS)}.")
        self.rate, self.unit = rate, unit

    def forward(self, branch: Tensor) -> Tensor:
        """Drop samples or positions of a residual branch ``[B, L, D]``."""
        if not self.training or self.rate == 0:
            return branch
        kept = branch.new_empty(self.mask_shape(branch)).bernoulli_(1 - self.rate)
        return branch * kept / (1 - self.rate)

    def packed(self, branch: Tensor, row: Tensor, position: Tensor, rows: int, positions: int) -> Tensor:
        """The same for packed tokens ``[T, D]``, with the draws of ``[B, L, D]``.

        Args:
            branch: The packed residual branch.
            row: ``[T]`` long, the text of each token.
            position: ``[T]`` long, its position.
            rows: B.
            positions: L.
        """
        if not self.training or self.rate == 0:
            return branch
        by_rows = self.unit == "samples"
        kept = branch.new_empty(rows if by_rows else positions).bernoulli_(1 - self.rate)
        return branch * kept[row if by_rows else position, None] / (1 - self.rate)

    def mask_shape(self, branch: Tensor) -> tuple[int, ...]:
        """Shape of the random mask: ``(B, 1, 1)`` for samples, ``(1, L, 1)`` for positions."""
        return (len(branch), 1, 1) if self.unit == "samples" else (1, branch.shape[1], 1)

    def extra_repr(self) -> str:
        """Rate and unit, for printing the model."""
        return f"rate={self.rate:.3f}, unit={self.unit!r}"


def linear_rates(last: float, depth: int) -> list[float]:
    """Rates that grow evenly from 0 in the first of ``depth`` layers to ``last`` in the last."""
    return torch.linspace(0, last, depth).tolist()
