"""A fusion encoder that finds, counts within each box, and counts boxes.

Shape letters: B pairs, U distinct images, N cells, G groups of cells, K detectors, L tokens, D width.
"""

import torch
from torch import Tensor, nn

from x2vlm.models.outputs import Context, TextStates
from x2vlm.registry import FUSION_ENCODERS


@FUSION_ENCODERS.register_module()
class CountingFusion(nn.Module):
    """Detectors made from the words, their sums over groups of cells, and a sum over the groups.

    A statement about three boxes asks how many boxes hold how many shapes of a kind. Attention by softmax averages over
    what it finds; to count, it has to learn to undo that. Here a sum is a sum: K detectors read the words, each gives
    every cell a share from 0 to 1, shares are added up within a box, and what a small network makes of the sums of a
    box is added up over the boxes. So the order of the boxes changes nothing.

    Counts are normalised over the batch. Otherwise, while nothing is known, the quickest way to a smaller loss is to
    look at nothing: detectors close within some ten steps, and nothing is learned any more.

    The result is the state of the first token; the others stay as they are. It suits classification and matching, not
    masked words.

    Args:
        width: Width of texts and of the result.
        context_width: Width of the cells.
        grid: (rows, columns) of cells.
        group_columns: Columns of a group, the columns that follow it and belong to none. Contexts of another number of
            cells than the grid's are one group.
        num_detectors: K.
        detector_width: Width in which words and cells are compared.
        batch_statistics: Normalise counts over the batch in training, as the first steps need. Counts are mostly 0, so
            that their variance differs from batch to batch, and from its running mean, which evaluation takes. False:
            take the running mean in training too, and leave it as it is.

    Raises:
        ValueError: If the columns hold no whole group.
    """

    def __init__(
        self,
        width: int,
        context_width: int,
        grid: tuple[int, int] = (5, 17),
        group_columns: tuple[int, int] = (5, 1),
        num_detectors: int = 24,
        detector_width: int = 32,
        batch_statistics: bool = True,
    ) -> None:
        super().__init__()
        rows, columns = grid
        group, gap = group_columns
        if group < 1 or gap < 0 or columns < group:
            raise ValueError(f"CountingFusion: columns={columns} hold no group of {group} and {gap} between groups")
        self.width, self.num_cells, self.detector_width = width, rows * columns, detector_width
        number, place = torch.arange(columns) // (group + gap), torch.arange(columns) % (group + gap)
        of_column = torch.where(place < group, number, -1)
        member = of_column[None, :] == torch.arange(int(of_column.max()) + 1)[:, None]  # [G, columns]
        self.register_buffer("member", member.float().repeat(1, rows), persistent=False)  # [G, N]
        self.probes = nn.Linear(width, num_detectors, bias=False)
        self.queries = nn.Linear(width, detector_width)
        self.keys = nn.Linear(context_width, detector_width)
        self.offset = nn.Parameter(torch.full((num_detectors,), -2.0))
        self.balance, self.batch_statistics = nn.BatchNorm1d(num_detectors), batch_statistics
        self.of_counts = nn.Linear(num_detectors + width, 2 * width)
        self.gate = nn.Linear(width, 2 * width)
        self.of_group = nn.Linear(2 * width, 2 * width)
        self.of_image = nn.Sequential(nn.Linear(2 * width + width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.norm = nn.LayerNorm(width)
        # Fresh detectors differ from one another: each reads few words, and scores spread over some units.
        nn.init.normal_(self.probes.weight, std=2 * width**-0.5)
        nn.init.normal_(self.queries.weight, std=1.5 * width**-0.5)
        nn.init.normal_(self.keys.weight, std=1.5 * context_width**-0.5)

    def forward(self, text: TextStates, context: Context | None, keys_values: Tensor | None = None) -> Tensor:
        """``[B, L, D]``; plain text stays as it is."""
        if context is None:
            return text.embeds
        counts = self.count(text, context)  # [B, G, K]
        counts = self.balance(counts.flatten(0, 1)).view_as(counts)
        words = text.summary
        found = self.of_counts(torch.cat([counts, words[:, None].expand(-1, counts.shape[1], -1)], dim=-1))
        groups = self.of_group(nn.functional.gelu(found) * self.gate(words)[:, None])  # [B, G, 2 * D]
        both = groups.sigmoid().sum(dim=1)  # [B, 2 * D]: in how many groups each property holds
        fused = self.norm(words + self.of_image(torch.cat([both, words], dim=-1)))
        return torch.cat([fused[:, None], text.embeds[:, 1:]], dim=1)

    def train(self, mode: bool = True) -> "CountingFusion":
        """Like every module's; without ``batch_statistics`` those of the counts stay as they are."""
        super().train(mode)
        self.balance.train(mode and self.batch_statistics)
        return self

    def count(self, text: TextStates, context: Context) -> Tensor:
        """``[B, G, K]``: how much each detector finds in each group of cells."""
        attention = self.probes(text.embeds).masked_fill(~text.mask[..., None], float("-inf")).softmax(dim=1)
        queries = self.queries(torch.einsum("blk,bld->bkd", attention, text.embeds))  # [B, K, detector_width]
        keys = self.keys(context.tokens)[context.owner]  # [B, N, detector_width]
        scores = torch.bmm(queries, keys.transpose(1, 2)) / self.detector_width**0.5
        shares = (scores + self.offset[:, None]).sigmoid() * context.mask[:, None]
        return torch.einsum("bkn,gn->bgk", shares, self._groups(shares.shape[2]))

    def _groups(self, num_cells: int) -> Tensor:
        return self.member if num_cells == self.num_cells else self.member.new_ones(1, num_cells)
