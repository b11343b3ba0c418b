import pytest
import torch
from torch.nn import functional

from x2vlm.models.autograd import linear_cross_entropy as module
from x2vlm.models.autograd.linear_cross_entropy import linear_cross_entropy

WORDS, WIDTH, GUESSES = 23, 6, 7


def inputs(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = [(GUESSES, WIDTH), (WORDS, WIDTH), (WORDS,)]
    hidden, words, bias = (torch.randn(s, generator=generator, dtype=dtype).requires_grad_() for s in shapes)
    return hidden, words, bias, torch.randint(3, WORDS, (GUESSES,), generator=generator)


def reference(hidden, words, bias, labels, smoothing=0.0, never=None):
    """Cross entropy against a target that is written out."""
    log_probs = functional.linear(hidden, words, bias).float().log_softmax(dim=-1)
    target = torch.full_like(log_probs, smoothing / (log_probs.shape[1] - 1 - (never is not None)))
    if never is not None:
        target[:, never] = 0.0
    target.scatter_(1, labels[:, None], 1 - smoothing)
    return -(target * log_probs).sum()


def with_gradients(cost, *wanted, factor=0.3):
    return cost, *torch.autograd.grad(factor * cost, wanted)


@pytest.mark.parametrize("scores", [1, 2 * WORDS, 3 * WORDS + 1, 2**26])
@pytest.mark.parametrize(("smoothing", "never"), [(0.0, None), (0.1, None), (0.1, 2), (0.0, 2)])
def test_the_cost_and_all_gradients_are_those_of_cross_entropy_however_many_are_scored_at_once(
    monkeypatch, scores, smoothing, never
):
    monkeypatch.setattr(module, "SCORES", scores)
    *wanted, labels = inputs()
    ours = with_gradients(linear_cross_entropy(*wanted, labels, smoothing, never), *wanted)
    for value, expected in zip(
        ours, with_gradients(reference(*wanted, labels, smoothing, never), *wanted), strict=True
    ):
        torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-5)


def test_it_equals_the_cross_entropy_of_torch_with_a_vocabulary_of_thousands_in_double_precision():
    generator = torch.Generator().manual_seed(0)
    wanted = [3 * torch.randn(s, generator=generator, dtype=torch.float64) for s in [(5, 8), (9001, 8), (9001,)]]
    wanted = [x.requires_grad_() for x in wanted]
    labels = torch.randint(9001, (5,), generator=generator)
    expected = functional.cross_entropy(functional.linear(*wanted), labels, reduction="sum")
    pairs = zip(
        with_gradients(linear_cross_entropy(*wanted, labels), *wanted), with_gradients(expected, *wanted), strict=True
    )
    for value, reference_value in pairs:
        torch.testing.assert_close(value, reference_value, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("scores", [2 * WORDS, 2**26])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_it_has_fp32_gradients_within_the_precision_of_the_type(monkeypatch, dtype, scores):
    monkeypatch.setattr(module, "SCORES", scores)
    *wanted, labels = inputs()
    with torch.autocast("cpu", dtype=dtype):
        cost = linear_cross_entropy(*wanted, labels)
    assert cost.dtype == torch.float32
    scale = 2.0**17  # more than fp16 can hold, as loss scales are
    ours = with_gradients(cost, *wanted, factor=scale)
    for value, expected in zip(ours, with_gradients(reference(*wanted, labels), *wanted, factor=scale), strict=True):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected, atol=2e-2 * expected.abs().max().item(), rtol=0)


def test_words_that_are_read_too_get_both_gradients_in_one():
    """As the embeddings of a text encoder that also score its words."""
    _, words, bias, labels = inputs()
    read = torch.arange(GUESSES)
    ours, expected = (torch.autograd.grad(cost(words[read].tanh(), words, bias, labels), words)[0] for cost in COSTS)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


COSTS = (linear_cross_entropy, reference)


def test_only_a_part_of_the_scores_is_there_at_once(monkeypatch):
    monkeypatch.setattr(module, "SCORES", 2 * WORDS)
    seen, costs = [], module._costs
    monkeypatch.setattr(
        module, "_costs", lambda scores, *rest: seen.append(tuple(scores.shape)) or costs(scores, *rest)
    )
    *wanted, labels = inputs()
    linear_cross_entropy(*wanted, labels)
    assert seen == [(2, WORDS)] * 3 + [(1, WORDS)]


def test_what_needs_no_gradient_gets_none():
    *factors, labels = inputs()
    frozen = [x.detach() for x in factors]
    assert not linear_cross_entropy(*frozen, labels).requires_grad
    cost = linear_cross_entropy(factors[0], *frozen[1:], labels)
    torch.testing.assert_close(
        torch.autograd.grad(cost, factors[0])[0], torch.autograd.grad(reference(*factors, labels), factors[0])[0]
    )
    with torch.no_grad():
        torch.testing.assert_close(linear_cross_entropy(*factors, labels), reference(*factors, labels))


def test_no_guesses_cost_nothing_and_send_zeros_back():
    *wanted, labels = inputs()
    cost, *grads = with_gradients(linear_cross_entropy(wanted[0][:0], *wanted[1:], labels[:0]), *wanted[1:])
    assert cost == 0
    assert not any(grad.any() for grad in grads)


def test_a_second_backward_pass_is_refused_with_a_sentence():
    *wanted, labels = inputs()
    cost = linear_cross_entropy(*wanted, labels)
    cost.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="gives its gradient once; compute it again"):
        cost.backward()


def test_scores_far_from_the_greatest_stay_exact():
    hidden = torch.tensor([[1.0]], requires_grad=True)
    words, bias = torch.tensor([[300.0], [0.0], [-300.0]]), torch.zeros(3)
    assert linear_cross_entropy(hidden, words, bias, torch.tensor([2])) == 600
