"""Correlations and F1 of predictions and labels, as GLUE reports them beside accuracy. All lie in -1..1.

Shape letters: B predictions.
"""

import torch
from torch import Tensor


def f1(predicted: Tensor, true: Tensor, positive: int = 1) -> float:
    """Harmonic mean of precision and recall of class ``positive``; 0 where it is neither predicted nor true.

    Args:
        predicted: ``[B]`` classes.
        true: ``[B]`` classes.
        positive: The positive class.
    """
    true_positives = ((predicted == positive) & (true == positive)).sum().item()
    total = (predicted == positive).sum().item() + (true == positive).sum().item()
    return 2 * true_positives / total if total else 0.0


def matthews(predicted: Tensor, true: Tensor) -> float:
    """Matthews correlation of two classes or more; 0 where either side has one class only.

    Args:
        predicted: ``[B]`` classes.
        true: ``[B]`` classes.
    """
    classes = torch.unique(torch.cat([predicted, true]))
    p, t = ((x[:, None] == classes).double() for x in (predicted, true))  # [B, C]
    return _correlation(p, t)


def pearson(predicted: Tensor, true: Tensor) -> float:
    """Linear correlation of ``[B]`` numbers; 0 where either side is constant."""
    return _correlation(predicted.double(), true.double())


def spearman(predicted: Tensor, true: Tensor) -> float:
    """Rank correlation of ``[B]`` numbers; equal numbers share their mean rank."""
    from scipy.stats import rankdata  # slow to import

    return pearson(*(torch.from_numpy(rankdata(x.double().numpy())) for x in (predicted, true)))


def _correlation(predicted: Tensor, true: Tensor) -> float:
    p, t = predicted - predicted.mean(dim=0), true - true.mean(dim=0)
    spread = ((p * p).sum() * (t * t).sum()).sqrt()
    return ((p * t).sum() / spread).item() if spread > 0 else 0.0


CLASS_METRICS = {"f1": f1, "matthews": matthews}
"""Metrics of predicted and true classes, by name."""
