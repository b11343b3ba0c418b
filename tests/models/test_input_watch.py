import pytest
import torch

from x2vlm.models.input_watch import watch, write_problem
from x2vlm.models.outputs import Context, EncodedBatch


@pytest.fixture
def encoded():
    context = Context(torch.ones(2, 4, 3), torch.arange(2), torch.ones(2, 4, dtype=torch.bool), torch.ones(2, 3))
    whole = EncodedBatch(batch=None, context=context, masked_image=(torch.ones(2, 4, 3), torch.ones(2, 3)))
    whole.full_context  # noqa: B018  (objectives share it once it is made)
    return whole


@pytest.mark.parametrize(
    ("tensor", "name"),
    [
        (lambda encoded: encoded.context.tokens, "encoded.context.tokens"),
        (lambda encoded: encoded.masked_image[1], "encoded.masked_image[1]"),
        (lambda encoded: encoded.full_context.mask, "encoded.full_context.mask"),
    ],
)
def test_a_tensor_that_others_read_is_named_when_it_was_written_to(encoded, tensor, name):
    watched = watch(encoded=encoded)
    assert write_problem(torch.nn.Linear(1, 1), watched) == ""
    tensor(encoded).fill_(0)
    assert write_problem(torch.nn.Linear(1, 1), watched).startswith(f"Linear changed {name} in place")
