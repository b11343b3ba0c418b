"""Caption generation by the next token: every token is predicted from the state of the one before it.

Shape letters: P predictions, V words, D width.
"""

import numpy as np
import torch
from torch import Tensor

from x2vlm.models.autograd.linear_cross_entropy import linear_cross_entropy
from x2vlm.objectives.caption import CaptionGeneration
from x2vlm.registry import OBJECTIVES


@OBJECTIVES.register_module()
class NextTokenCaption(CaptionGeneration):
    """Cross entropy of the next token, with smoothed targets, as X-VLM and X-FM learn captions (arXiv:2111.08276).

    All layers of the text and the fusion encoder attend to earlier tokens alone. Batches come from
    ``CaptionCollate(masked="next")``. A target has the true word with probability ``1 - smoothing`` and ``smoothing``
    spread evenly over all words, as torch's ``label_smoothing`` has it; the loss is the mean over the predictions.

    Its arguments are those of :class:`~x2vlm.objectives.caption.CaptionGeneration`.
    """

    masks_after = 0

    def loss(self, states: Tensor, labels: np.ndarray, word_embeddings: Tensor) -> Tensor:
        """The mean cross entropy of predictions from ``[P, D]`` states; 0 where there are none."""
        labels = torch.from_numpy(labels).to(states.device, non_blocking=True)
        return smoothed_cross_entropy(*self.scorer(states, word_embeddings), labels, self.smoothing)


def smoothed_cross_entropy(hidden: Tensor, words: Tensor, bias: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean cross entropy with a target that is smoothed over all words, the true one included.

    Args:
        hidden: ``[P, D]`` states.
        words: ``[V, D]``; a word's score is its product with ``hidden``, plus ``bias``.
        bias: ``[V]``.
        labels: ``[P]`` true words.
        smoothing: Share of the target that is spread over the ``V`` words.

    Returns:
        Scalar; 0 without predictions.
    """
    from_the_true_word = smoothing * (len(words) - 1) / len(words)  # a V-th of the share comes back to it
    return linear_cross_entropy(hidden, words, bias, labels, from_the_true_word) / max(len(labels), 1)
