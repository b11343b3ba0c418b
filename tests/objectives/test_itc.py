import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.models.conftest import image_batch, tiny_model
from x2vlm.objectives import itc as module
from x2vlm.objectives.itc import ITC, contrast, soft_cross_entropy
from x2vlm.objectives.itm import draw


def unit(count, seed):
    return nn.functional.normalize(torch.randn(count, 5, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_it_is_the_mean_of_both_cross_entropies():
    encoded = tiny_model().encode(image_batch())
    logits = encoded.context.feat @ encoded.text.feat.T / 0.07
    target = torch.arange(4)
    expected = (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(ITC().losses(encoded, ())["loss_itc"], expected)


@given(order=st.permutations(range(6)))
def test_the_order_of_pairs_does_not_matter(order):
    logits = unit(6, 1) @ unit(6, 2).T
    positive = torch.eye(6, dtype=torch.bool)
    positive[0, 3] = positive[3, 0] = True
    shuffled = soft_cross_entropy(logits[order][:, order], positive[order][:, order])
    torch.testing.assert_close(shuffled, soft_cross_entropy(logits, positive)[order])


def test_two_captions_of_one_image_share_the_target():
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    loss = soft_cross_entropy(logits, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(loss, logits.logsumexp(1) - 1.5)


def test_a_batch_of_one_has_nothing_to_contrast():
    assert ITC().losses(tiny_model().encode(image_batch(1)), ())["loss_itc"] == 0


def test_equal_identities_share_the_target_in_both_directions():
    batch = image_batch()
    batch.ids = torch.tensor([0, 0, 2, 3])
    encoded = tiny_model().encode(batch)
    logits = encoded.context.feat @ encoded.text.feat.T / 0.07
    target = torch.eye(4)
    target[:2, :2] = 0.5
    expected = (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(ITC(positives="ids").losses(encoded, ())["loss_itc"], expected)


def test_the_published_gradient_can_be_that_of_another_number_of_processes():
    """One process gives the encoders an eighth of the gradient, and the temperature all of it, as eight once did."""
    grads = {}
    for name, itc in dict(exact=ITC(), eighth=ITC(grad="official", world=8), one=ITC(grad="official")).items():
        model = tiny_model()
        itc.losses(model.encode(image_batch()), ())["loss_itc"].backward()
        grads[name] = model.text_proj.weight.grad, model.vision_proj.weight.grad, model.temperature.grad
    for exact, eighth, one in zip(*grads.values(), strict=True):
        torch.testing.assert_close(one, exact)
        torch.testing.assert_close(eighth, exact / 8 if exact.dim() else exact)


def test_the_number_of_processes_belongs_to_the_published_gradient():
    with pytest.raises(ValueError, match="world=8 is for grad='official'"):
        ITC(world=8)


def test_an_unknown_gradient_is_named():
    with pytest.raises(ValueError, match=r"grad='published' is not known. Accepted: exact, official"):
        ITC(grad="published")


@pytest.mark.parametrize("logits", [1, 18, 27, 10**6])
def test_rows_compared_a_part_at_a_time_give_the_same_loss_and_gradients(monkeypatch, logits):
    """Of 5 rows, the first of 9 columns that those of all processes are, some with the same identity."""
    rows, columns, temperature = unit(5, 1), unit(9, 2), torch.tensor(0.07)
    wanted = [x.requires_grad_() for x in (rows, columns, temperature)]
    keys = torch.tensor([[0], [1], [2], [1], [4], [0], [6], [7], [0]])
    positive = (keys[:5] == keys.T).float()
    target = positive / positive.sum(dim=1, keepdim=True)
    expected = nn.functional.cross_entropy(rows @ columns.T / temperature, target)
    monkeypatch.setattr(module, "LOGITS", logits)
    loss = contrast(*wanted, keys[:5], keys)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    grads = (torch.autograd.grad(value, wanted) for value in (loss, expected))
    for ours, reference in zip(*grads, strict=True):
        torch.testing.assert_close(ours, reference, atol=1e-6, rtol=1e-5)


def test_only_a_part_of_the_similarities_is_kept_for_the_backward_pass(monkeypatch):
    monkeypatch.setattr(module, "LOGITS", 2 * 40)
    features, keys = unit(40, 1).requires_grad_(), torch.arange(40)[:, None]
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.shape) or x, lambda x: x):
        contrast(features, unit(40, 2), torch.tensor(0.07), keys, keys).backward()
    assert max(size.numel() for size in sizes) < 40 * 40


class RecordedOperators(TorchDispatchMode):
    """Notes whatever makes a program wait for a number of the device."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, by = func.overloadpacket.__name__, args[1] if len(args) > 1 else ()
        by_bool = name == "index" and any(i is not None and i.dtype == torch.bool for i in by)
        if by_bool or name in ("_local_scalar_dense", "nonzero", "masked_select"):
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_a_number_of_the_device():
    encoded = tiny_model().encode(image_batch())
    itm = tiny_model().objectives["itm"]
    with RecordedOperators() as recorded:
        ITC(positives="ids_and_texts").losses(encoded, ())
        draw(itm.sampling_weights(encoded)[0])
    assert recorded.names == []
