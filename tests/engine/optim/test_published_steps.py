"""Four steps of a published run, optimizer, groups, schedule and clipping together, against their formulas in NumPy."""

from math import sqrt

import numpy as np
import pytest
import torch
from torch import nn

from x2vlm.engine.optim.param_groups import X2VLMOptimConstructor
from x2vlm.engine.optim.schedules import WarmupLinear

LR, MULT, DECAY, BETAS, EPS, CLIP, WARMUP, STEPS = 0.1, 2.0, 0.01, (0.9, 0.98), 1e-8, 1.0, 2, 4


class Four(nn.Module):
    """A parameter for each of the groups {decay, no decay} x {loaded, fresh}."""

    def __init__(self) -> None:
        super().__init__()
        self.text_encoder = nn.Linear(3, 1)  # loaded: its weight decays, its bias does not
        self.vision_proj = nn.Linear(3, 1)  # fresh
        self.double()

    def fresh_parameters(self) -> set[str]:
        return {"vision_proj.weight", "vision_proj.bias"}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.text_encoder(x) * self.vision_proj(x)).sum()


def by_formula(weights: dict[str, np.ndarray], grads: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    means = {name: np.zeros_like(value) for name, value in weights.items()}
    squares = {name: np.zeros_like(value) for name, value in weights.items()}
    for t, grad in enumerate(grads, start=1):
        norm = sqrt(sum((g**2).sum() for g in grad.values()))
        grad = {name: g * min(1.0, CLIP / (norm + 1e-6)) for name, g in grad.items()}
        s = t - 1  # updates done: the first one has rate 0
        factor = s / WARMUP if s < WARMUP else (STEPS - s) / (STEPS - WARMUP)
        for name in weights:
            rate = LR * factor * (MULT if name.startswith("vision_proj") else 1.0)
            means[name] = BETAS[0] * means[name] + (1 - BETAS[0]) * grad[name]
            squares[name] = BETAS[1] * squares[name] + (1 - BETAS[1]) * grad[name] ** 2
            size = rate * sqrt(1 - BETAS[1] ** t) / (1 - BETAS[0] ** t)
            weights[name] = weights[name] - size * means[name] / (np.sqrt(squares[name]) + EPS)
            weights[name] = weights[name] - rate * (0.0 if "bias" in name else DECAY) * weights[name]
    return weights


def test_four_steps_of_a_published_run_are_the_formulas():
    torch.manual_seed(0)
    model = Four()
    wrapper = X2VLMOptimConstructor(
        dict(
            optimizer=dict(type="PublishedAdamW", lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY),
            clip_grad=dict(max_norm=CLIP),
        ),
        dict(lr_mult=MULT),
    )(model)
    schedule = WarmupLinear(wrapper, warmup=WARMUP, end=STEPS)
    start = {name: value.detach().numpy().copy() for name, value in model.named_parameters()}
    grads = []
    for _ in range(STEPS):
        loss = model(torch.randn(5, 3, dtype=torch.float64))
        wrapper.add_gradients(loss)
        grads.append({name: value.grad.numpy().copy() for name, value in model.named_parameters()})
        wrapper.finish_iteration()
        schedule.step()
    assert {group["name"] for group in wrapper.optimizer.param_groups} == {
        f"{kind}/{decay}" for kind in ("base", "fresh") for decay in ("decay", "no_decay")
    }
    for name, expected in by_formula(start, grads).items():
        assert model.get_parameter(name).detach().numpy() == pytest.approx(expected, rel=1e-12, abs=1e-14)
