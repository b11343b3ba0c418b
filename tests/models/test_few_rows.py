import pytest
import torch
from torch import nn

from x2vlm.models.few_rows import MOST_ROWS, PackedWeights

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="requires oneDNN")


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1024), (12, 1024), (6, 2, 1024), (MOST_ROWS, 1024)])
def test_few_rows_give_what_the_usual_layer_gives(shape, bias, seed):
    layer, rows, packed = nn.Linear(1024, 1030, bias=bias), torch.randn(shape), PackedWeights()
    with torch.no_grad():
        expected = layer(rows)
        for _ in range(2):
            with packed:
                torch.testing.assert_close(layer(rows), expected, rtol=1e-5, atol=1e-5)
    assert len(packed) == 1


@pytest.mark.parametrize(
    "given",
    [
        dict(rows=torch.randn(MOST_ROWS + 1, 1024)),
        dict(rows=torch.randn(0, 1024)),
        dict(rows=torch.randn(2, 1024, dtype=torch.float64)),
        dict(weight=torch.randn(1030, 1024)),  # made for this product alone
        dict(weight=nn.Parameter(torch.randn(30, 1024))),
    ],
    ids=["many rows", "no row", "another precision", "no parameter", "a small one"],
)
def test_all_else_is_left_as_it_is(given):
    rows = given.get("rows", torch.randn(2, 1024))
    weight = given.get("weight", nn.Parameter(torch.randn(1030, 1024, dtype=rows.dtype)))
    with torch.no_grad():
        expected = nn.functional.linear(rows, weight)
        with PackedWeights() as packed:
            assert torch.equal(nn.functional.linear(rows, weight), expected)
    assert len(packed) == 0


def test_gradients_and_autocast_are_left_as_they_are(seed):
    layer, rows = nn.Linear(1024, 1030), torch.randn(2, 1024)
    with PackedWeights() as packed:
        layer(rows).sum().backward()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            assert layer(rows).dtype == torch.bfloat16
    assert layer.weight.grad is not None and len(packed) == 0


@needs_onednn
def test_a_weight_made_anew_at_the_same_place_is_another_one(seed):
    rows = torch.randn(2, 1024)
    with torch.no_grad(), PackedWeights() as packed:
        for _ in range(3):  # each may lie where the one before lay
            layer = nn.Linear(1024, 1030)
            torch.testing.assert_close(layer(rows), rows @ layer.weight.T + layer.bias, rtol=1e-5, atol=1e-5)
            del layer
    assert len(packed) == 3
