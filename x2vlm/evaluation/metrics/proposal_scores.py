"""Scores of box proposals by a map over the image's patches.

Shape letters: T texts, P proposals.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def proposal_scores(maps: Tensor, boxes_xyxy: Tensor, size_px: tuple[int, int], area_power: float = 0.5) -> Tensor:
    """The sum of each map inside each box, divided by a power of the box's area (X-VLM's and ALBEF's releases).

    Maps are resized to the image by bicubic interpolation, and boxes cut to whole pixels, as published. Dividing by
    the area itself would favour the smallest box around the maximum, not dividing the largest box.

    Args:
        maps: ``[T, rows, columns]`` over the patch grid.
        boxes_xyxy: ``[P, 4]``, normalised to 0..1 of the image.
        size_px: Height and width of the image.
        area_power: The power, 0.5 as published.

    Returns:
        ``[T, P]``.
    """
    height, width = (int(number) for number in size_px)
    pixels = F.interpolate(maps[:, None].double(), size=(height, width), mode="bicubic", align_corners=False)[:, 0]
    sums = F.pad(pixels.cumsum(dim=1).cumsum(dim=2), (1, 0, 1, 0))  # [T, H + 1, W + 1], of all before each corner
    scale = torch.tensor([width, height, width, height], dtype=torch.float64)
    corners = (boxes_xyxy.double() * scale + 1e-3).floor().long()  # normalising and scaling back may miss by a rounding
    first = torch.minimum(corners[:, :2].clamp(min=0), torch.tensor([width - 1, height - 1]))
    last = torch.minimum(torch.maximum(corners[:, 2:], first + 1), torch.tensor([width, height]))  # one pixel at least
    (x0, y0), (x1, y1) = first.T, last.T
    inside = sums[:, y1, x1] - sums[:, y0, x1] - sums[:, y1, x0] + sums[:, y0, x0]
    area = ((x1 - x0) * (y1 - y0)).double()
    return (inside / area**area_power).float()
