"""From the frames of a clip to what plays one image: means over time, all frames side by side, or attention over time.

Their positions are added before, by :func:`add_frame_positions`.

Shape letters: U clips, F frames, N patches of a frame, D width, H heads.
"""

import torch
from torch import Tensor, nn

from x2vlm.registry import TEMPORAL_ENCODERS

Clip = tuple[Tensor, Tensor]  # tokens [U, N', D], summaries [U, D]


def new_frame_positions(num_frames: int, width: int) -> nn.Parameter:
    """Learned positions of frames, ``[1, F, 1, D]``."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, num_frames, 1, width), std=0.02))


def add_frame_positions(tokens: Tensor, summaries: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
    """``[U, F, N, D]`` patches and ``[U, F, D]`` summaries, each with the position of its frame added."""
    if positions is None:
        return tokens, summaries
    positions = positions[:, : tokens.shape[1]]
    return tokens + positions, summaries + positions[:, :, 0]


@TEMPORAL_ENCODERS.register_module()
class MeanOfFrames(nn.Module):
    """Each patch is its mean over the frames, as published (arXiv:2211.12402v1, Sec. 3.2, "Video Representation").

    So a clip costs the fusion encoder as much as an image. With or without positions, the order of the frames does not
    show: the mean of the positions is the same in every order.

    Args:
        width: Width of the tokens.
        positions: Add the position of its frame to every patch before (``frame_positions`` of the model).
    """

    def __init__(self, width: int, positions: bool = True) -> None:
        super().__init__()
        self.positions = positions

    def forward(self, tokens: Tensor, summaries: Tensor) -> Clip:
        """``[U, F, N, D]`` patches and ``[U, F, D]`` summaries of frames -> those of clips."""
        return tokens.mean(dim=1), summaries.mean(dim=1)


@TEMPORAL_ENCODERS.register_module()
class ConcatOfFrames(nn.Module):
    """The patches of all frames one behind the other; the summary is the mean over the frames.

    Texts attend to every frame by itself, and see their order by the positions; the fusion encoder reads F times as
    many patches.

    Args:
        width: Width of the tokens.
    """

    positions = True

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, tokens: Tensor, summaries: Tensor) -> Clip:
        """``[U, F, N, D]`` patches and ``[U, F, D]`` summaries of frames -> those of clips, ``N' = F * N``."""
        return tokens.flatten(1, 2), summaries.mean(dim=1)


@TEMPORAL_ENCODERS.register_module()
class AttentionOverFrames(nn.Module):
    """Each patch attends to itself in the other frames (pre-norm, with a residual); then the mean over the frames.

    What a frame gives the mean then depends on its position among the others, so the order of the frames shows, and a
    clip costs the fusion encoder as much as an image.

    Args:
        width: Width of the tokens.
        num_heads: Attention heads; one per 64 of width where not given.
        dropout: Probability for attention weights, in training.
    """

    positions = True

    def __init__(self, width: int, num_heads: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        num_heads = num_heads or max(1, width // 64)
        if width % num_heads:
            raise ValueError(f"width {width} cannot be split in {num_heads} heads: num_heads must divide it.")
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = nn.MultiheadAttention(width, num_heads, dropout=dropout, batch_first=True)

    def forward(self, tokens: Tensor, summaries: Tensor) -> Clip:
        """``[U, F, N, D]`` patches and ``[U, F, D]`` summaries of frames -> those of clips."""
        mean = self._attend(torch.cat([summaries[:, :, None], tokens], dim=2)).mean(dim=1)
        return mean[:, 1:], mean[:, 0]

    def _attend(self, tokens: Tensor) -> Tensor:
        clips, frames, places, width = tokens.shape
        rows = tokens.transpose(1, 2).reshape(clips * places, frames, width)
        read = self.norm(rows)
        rows = rows + self.attention(read, read, read, need_weights=False)[0]
        return rows.view(clips, places, frames, width).transpose(1, 2)
