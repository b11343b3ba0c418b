"""The check that a model has the objective that a metric or a prediction needs."""

from typing import Any


def require_objective(model: Any, name: str, user: str, advice: str = "Add it, or leave this evaluation out.") -> None:
    """Refuse a model without objective ``name``.

    Args:
        model: The model.
        name: The objective.
        user: What needs it, for the message.
        advice: What to do about it, for the message.

    Raises:
        ValueError: If the model has no such objective.
    """
    if name not in model.objectives:
        available = ", ".join(model.objectives) or "none"
        message = f"{user} needs objective '{name}', but this model's objectives are: {available}. {advice}"
        raise ValueError(message.rstrip())
