"""How well predictions agree with the truth, beside plain accuracy: the figures of GLUE. All lie in -1..1.

Shape letters: B predictions.
"""

import torch
from scipy.stats import rankdata
from torch import Tensor


def f1(predicted: Tensor, true: Tensor, positive: int = 1) -> float:
    """Harmonic mean of precision and recall of class ``positive``; 0 where it is neither predicted nor true.

    Args:
        predicted: ``[B]`` classes.
        true: ``[B]`` classes.
        positive: The class that is sought.
    """
    hits = ((predicted == positive) & (true == positive)).sum().item()
    asked = (predicted == positive).sum().item() + (true == positive).sum().item()
    return 2 * hits / asked if asked else 0.0


def matthews(predicted: Tensor, true: Tensor) -> float:
    """Matthews correlation of two classes or more; 0 where either side has one class only.

    Args:
        predicted: ``[B]`` classes.
        true: ``[B]`` classes.
    """
    classes = torch.unique(torch.cat([predicted, true]))
    p, t = ((x[:, None] == classes).double() for x in (predicted, true))  # [B, C]
    p, t = p - p.mean(dim=0), t - t.mean(dim=0)
    spread = ((p * p).sum() * (t * t).sum()).sqrt()
    return ((p * t).sum() / spread).item() if spread > 0 else 0.0


def pearson(predicted: Tensor, true: Tensor) -> float:
    """Linear correlation of ``[B]`` numbers; 0 where either side is constant."""
    p, t = (x.double() - x.double().mean() for x in (predicted, true))
    spread = ((p * p).sum() * (t * t).sum()).sqrt()
    return ((p * t).sum() / spread).item() if spread > 0 else 0.0


def spearman(predicted: Tensor, true: Tensor) -> float:
    """Correlation of the ranks of ``[B]`` numbers, equal numbers sharing their mean rank."""
    return pearson(*(torch.from_numpy(rankdata(x.double().numpy())) for x in (predicted, true)))


OF_CLASSES = {"f1": f1, "matthews": matthews}
"""Figures of predicted and true classes that a metric may be asked for by name."""
