"""The parts that docs/plugins.md shows: each is built, keeps its contract, and they train together in one model."""

import re
import sys
import types

import pytest
import torch
from torch import nn

from tests.models.conftest import VOCAB, image_batch, region_batch, tiny_model
from x2vlm.building import ConfigError, import_locations
from x2vlm.models.fusion import requests
from x2vlm.registry import (
    DATASETS,
    FUSION_ENCODERS,
    METRICS,
    OBJECTIVES,
    TEXT_ENCODERS,
    TRANSFORMS,
    VISION_ENCODERS,
)
from x2vlm.testing import (
    assert_adapter,
    assert_boxes_follow,
    assert_fusion_encoder,
    assert_metric,
    assert_text_encoder,
    assert_transform,
    assert_vision_encoder,
)

FAMILIES = (OBJECTIVES, VISION_ENCODERS, TEXT_ENCODERS, FUSION_ENCODERS, DATASETS, TRANSFORMS, METRICS)


@pytest.fixture
def guide(root, monkeypatch):
    """What the page defines by name, all of it registered for a test."""
    monkeypatch.setattr(requests, "print_log", lambda *_, **__: None)
    blocks = re.findall(r"```python\n(.*?)```", (root / "docs" / "plugins.md").read_text(), flags=re.DOTALL)
    for family in FAMILIES:
        import_locations(family)  # which happens once: what is registered then must stay
    before = {family: dict(family.module_dict) for family in FAMILIES}
    module = types.ModuleType("guide")
    monkeypatch.setitem(sys.modules, "guide", module)  # worker processes look their classes up
    scope = vars(module)
    for block in blocks:
        if "read_base" not in block and "from plugins." not in block:
            exec(compile(block, "docs/plugins.md", "exec"), scope)
    yield scope
    for family, parts in before.items():
        family.module_dict.clear()
        family.module_dict.update(parts)


def test_parts_written_by_the_guide_train_together(guide):
    objectives = dict(itc=dict(type="SigmoidITC"), tone=dict(type="Tone", weight=0.5), itm=dict(type="ITM"))
    model = tiny_model(
        vision_encoder=dict(type="ConvGrid", image_size=16),
        text_encoder=dict(type="BagOfWords", vocab_size=VOCAB),
        fusion_encoder=dict(type="Gated"),
        objectives=objectives | dict(mlm=dict(type="MLM"), bbox=dict(type="BBox")),
    ).train()
    images = image_batch()
    images.labels = torch.tensor([0, 1, 1, 0])
    names = {"image": ["itc", "tone", "itm", "mlm"], "region": ["itm", "mlm", "bbox"]}
    losses = model({"image": images, "region": region_batch()}, objectives=names)
    assert set(losses["image"]) == {"loss_itc", "loss_tone", "loss_itm", "loss_mlm"}
    sum(value for own in losses.values() for value in own.values()).backward()
    assert all(p.grad is not None for p in model.text_encoder.parameters())
    assert model.objectives["tone"].head.weight.grad.abs().sum() > 0


def test_every_example_of_the_page_keeps_its_contract(guide, tmp_path):
    assert_vision_encoder(dict(type="ConvGrid"))
    assert_text_encoder(dict(type="BagOfWords"))
    assert_fusion_encoder(dict(type="Gated"))
    (tmp_path / "a.csv").write_text("image,caption\na.jpg,a dog\nb.jpg,\n")
    assert_adapter(guide["CsvCaptions"](str(tmp_path / "a.csv")))
    assert_transform(dict(type="RandomGray", prob=1.0))
    assert set(assert_metric(guide["MeanSimilarity"]())) == {"similarity", "pairs"}
    assert_boxes_follow(dict(type="Flip"))
    guide["test_the_objective_learns"]()


def test_the_page_names_every_registered_family_and_helper(root):
    page = (root / "docs" / "plugins.md").read_text()
    for family in (
        "VISION_ENCODERS",
        "TEXT_ENCODERS",
        "FUSION_ENCODERS",
        "OBJECTIVES",
        "DATASETS",
        "TRANSFORMS",
        "METRICS",
    ):
        assert f"(`{family}`)" in page
    import x2vlm.testing

    for name in [name for name in vars(x2vlm.testing) if name.startswith("assert_")]:
        assert f"`{name}" in page, name


def test_the_weight_of_an_objective_is_applied_to_what_it_gives(guide):
    images = image_batch()
    images.labels = torch.tensor([0, 1, 1, 0])
    whole, half = (tiny_model(objectives=dict(tone=dict(type="Tone", weight=w))) for w in (1.0, 0.5))
    torch.testing.assert_close(half(images)["loss_tone"], whole(images)["loss_tone"] / 2)
    torch.testing.assert_close(whole(images, objectives={"tone": 0.25})["loss_tone"], whole(images)["loss_tone"] / 4)


def test_a_stream_without_what_an_objective_needs_is_refused_with_its_name(guide):
    model = tiny_model(objectives=dict(tone=dict(type="Tone")))
    with pytest.raises(ValueError, match=r"objective 'tone' needs batch\.labels, but this batch .* give no labels"):
        model(image_batch())


def test_an_objective_of_the_former_kind_is_refused_with_what_to_write():
    class Former(nn.Module):
        requires = ("text.embeds",)

        def forward(self, encoded):
            return {}

    with pytest.raises(ConfigError, match=r"objectives\.old: Former is not an objective: .*`needs`.*`losses\(encoded"):
        tiny_model(objectives=dict(old=Former()))
