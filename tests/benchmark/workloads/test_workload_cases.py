from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from x2vlm.benchmark.workloads.model_sizes import SIZES, make_model, pixels
from x2vlm.benchmark.workloads.workload import Scale
from x2vlm.benchmark.workloads.workload_cases import WORKLOADS
from x2vlm.boxes_to_patches import boxes_to_patch_mask
from x2vlm.data.batch import Batch
from x2vlm.models.generation.beam_search import BeamSearch
from x2vlm.reference.reference_model import ReferenceModel
from x2vlm.reference.reference_tasks import ReferenceCaptionReader

SCALE = Scale(SIZES["tiny"], pairs=8, queries=2, dropout=0.0)


@pytest.mark.parametrize("name", ["rerank", "encode", "answer", "caption"])
def test_both_sides_give_the_same(name):
    for workload in WORKLOADS[name](SCALE):
        ours, theirs = workload.library(), workload.reference()
        if name == "caption":
            assert [one.ids for one in ours] == [one.ids for one in theirs]
            assert [one.score for one in ours] == pytest.approx([one.score for one in theirs], abs=1e-5, rel=1e-5)
        elif name == "answer":
            assert torch.equal(ours.ids, theirs.ids)
            torch.testing.assert_close(ours.scores, theirs.scores, atol=1e-5, rtol=1e-5)
        else:
            torch.testing.assert_close(ours.view(theirs.shape), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in WORKLOADS if name not in ("data", "training")])
def test_both_sides_run_in_bf16_and_compute_products_in_it(name):
    for workload in WORKLOADS[name](replace(SCALE, precision="bf16")):
        for side in (workload.library, workload.reference):
            with Types() as types:
                side()
            assert torch.bfloat16 in types.seen


class Types(TorchDispatchMode):
    """Which types the first factors of products have."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        with self:
            parts = func.decompose(*args, **kwargs or {})
        if parts is not NotImplemented:
            return parts
        if func._schema.name in ("aten::mm", "aten::bmm"):
            self.seen.add(args[0].dtype)
        elif func._schema.name == "aten::addmm":
            self.seen.add(args[1].dtype)
        return func(*args, **kwargs or {})


@pytest.mark.parametrize(
    "search",
    [
        BeamSearch(beams=1, min_length=0, max_length=6),
        BeamSearch(beams=4, min_length=1, max_length=8, length_penalty=1.0),
        BeamSearch(beams=3, min_length=2, max_length=7, no_repeat=1),
    ],
)
def test_captions_are_those_of_the_reference_path_whatever_the_search(search):
    size = SCALE.size
    model = make_model(size, size.image, {"caption": {"type": "CaptionGeneration", "prompt": "word1 word2"}}).eval()
    generator, head = torch.Generator().manual_seed(1), model.objectives["caption"]
    with torch.inference_mode():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        images = pixels(3, size.image)
        ours = head.generate(model, model.encode(Batch(None, None, images, torch.arange(3))), search)
        reference = ReferenceModel(model)
        reader = ReferenceCaptionReader(reference, reference.encode_pixels(images))
        theirs = search(reader, torch.tensor([head.start_ids] * 3), head.end_id)
    assert [one.ids for one in ours] == [one.ids for one in theirs]
    assert [one.score for one in ours] == pytest.approx([one.score for one in theirs], abs=1e-5, rel=1e-5)


@pytest.mark.parametrize("name", ["train-step", "video-step"])
def test_both_sides_train_on_the_same_losses_where_nothing_is_drawn(name):
    (workload,) = WORKLOADS[name](SCALE)
    for part in ("vision", "text"):  # features of images, then the contrastive loss; no negatives
        library, reference = workload.parts[part]
        torch.testing.assert_close(library(), reference(), atol=1e-5, rtol=1e-5)
    assert list(workload.parts) == ["vision", "text", "itm", "mlm", *["bbox"] * (name == "train-step")]


@pytest.mark.parametrize(("backend", "apart"), [("pillow", 1e-6), ("torch", 0.005)])  # a level is 0.015
def test_both_sides_read_the_same_regions_from_the_same_random_numbers(backend, apart):
    (workload,) = WORKLOADS["data"](SCALE, backend)
    ours, theirs = workload.library(), workload.reference()
    assert ours.texts == theirs.texts
    assert len(ours) > 20  # several of each image
    assert (ours.pixels - theirs.pixels).abs().mean() < apart
    torch.testing.assert_close(ours.boxes_xyxy, theirs.boxes_xyxy)
    assert torch.equal(ours.has_box, theirs.has_box)
    assert theirs.text_ids.shape[1] == 40
    assert torch.equal(ours.text_ids, theirs.text_ids[:, : ours.text_ids.shape[1]])
    of_ours = boxes_to_patch_mask(ours.boxes_xyxy, (4, 4))
    assert torch.equal(of_ours, torch.cat([extras["patch_mask"] for extras in theirs.extras]))


def test_both_sides_train_on_what_they_read():
    (workload,) = WORKLOADS["end-to-end"](SCALE)
    workload.library()
    workload.reference()
    assert workload.count == 8
