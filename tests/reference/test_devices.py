"""The reference path makes its helper tensors where the model is: run with tensors of a GPU that have no numbers."""

from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from x2vlm.benchmark.workloads.model_sizes import (
    MASKS,
    OBJECTIVES,
    SIZES,
    image_batch,
    make_model,
    pixels,
    region_batch,
)
from x2vlm.data.batch import HostBatch
from x2vlm.models.generation.answer_decoder import AnswerDecoder
from x2vlm.reference import reference_tasks
from x2vlm.reference.reference_model import ReferenceModel, Tokens

SIZE = SIZES["tiny"]


@pytest.fixture
def device():
    """A GPU that is not there; tensors of it and of main memory cannot be mixed."""
    with FakeTensorMode():
        with pytest.raises(RuntimeError, match="device"):
            torch.ones(2, device="cuda") + torch.ones(2)
        yield "cuda"


def moved(module, device):
    """Its tensors replaced by those without numbers."""
    for part in module.modules():
        for name, tensor in part.named_parameters(recurse=False):
            part._parameters[name] = torch.nn.Parameter(torch.empty(tensor.shape, device=device))
        for name, tensor in part.named_buffers(recurse=False):
            part._buffers[name] = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
    return module.eval()


def reference_on(device, objectives=None):
    with unset_fake_temporarily():  # weights are initialised by numbers
        model = make_model(SIZE, SIZE.image, objectives)
    return ReferenceModel(moved(model, device), 40, MASKS)


def tokens(count, length, device):
    mask = torch.ones(count, length, dtype=torch.bool, device=device)
    return Tokens(torch.randn(count, length, SIZE.width, device=device), mask)


@pytest.mark.parametrize("stream", ["image", "region"])
def test_losses_of_the_reference_path(device, stream):
    reference = reference_on(device)
    batch = image_batch(SIZE, 4) if stream == "image" else region_batch(SIZE, 4, 2)
    batch = replace(batch, host=HostBatch()).to(device)  # nothing is planned with by the reference path
    names = [name for name in OBJECTIVES if name != "bbox"]  # boxes are checked by their numbers, and have none here
    losses = reference.losses(batch, names, ([1, 2, 3, 0], [1, 2, 3, 0]))
    assert {loss.device.type for loss in losses.values()} == {"cuda"}


def test_re_ranking_of_the_reference_path(device):
    reference, texts = reference_on(device), tokens(3, 40, device)
    images = torch.randn(3, 17, SIZE.width, device=device)
    of_an_image = reference_tasks.texts_of_an_image(reference, images[0], texts)
    of_a_text = reference_tasks.images_of_a_text(reference, images, Tokens(texts.embeds[:1], texts.mask[:1]))
    assert of_an_image.device.type == of_a_text.device.type == "cuda"


def test_captions_of_the_reference_path(device):
    reference = reference_on(device, {"caption": {"type": "CaptionGeneration", "prompt": "word1 word2"}})
    reader = reference_tasks.ReferenceCaptionReader(
        reference, reference.encode_pixels(pixels(2, SIZE.image).to(device))
    )
    ids, rows = torch.ones(2, 3, dtype=torch.long, device=device), torch.arange(2, device=device)
    for _ in range(2):  # the second word looks back at what is kept
        scores = reader(ids, rows)
        ids = torch.cat([ids, scores.argmax(dim=1, keepdim=True)], dim=1)
    assert scores.shape == (2, SIZE.vocab_size)
    assert scores.device.type == "cuda"


def test_answers_of_the_reference_path(device):
    with unset_fake_temporarily():
        decoder = AnswerDecoder(SIZE.width, SIZE.vocab_size, SIZE.fusion_depth)
    decoder = moved(decoder, device)
    ids = torch.ones(5, 4, dtype=torch.long, device=device)
    ranking = reference_tasks.rank_answers(decoder, tokens(2, 10, device), ids, ids.bool(), 3)
    assert ranking.scores.device.type == "cuda"
