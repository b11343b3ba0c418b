"""Parts written against docs/plugins.md alone: an objective, a fusion encoder and a text encoder, in one model."""

import re
from contextlib import ExitStack

import pytest
import torch
from torch import nn

from tests.models.conftest import VOCAB, image_batch, region_batch, tiny_model
from x2vlm.building import ConfigError
from x2vlm.models.fusion import requests
from x2vlm.registry import FUSION_ENCODERS, OBJECTIVES, TEXT_ENCODERS


class BagOfWords(nn.Module):
    """A text encoder of a plugin: words, and their mean at the first place."""

    def __init__(self, vocab_size=VOCAB, width=8):
        super().__init__()
        self.width, self.vocab_size = width, vocab_size
        self.words = nn.Embedding(vocab_size, width)

    @property
    def word_embeddings(self):
        return self.words.weight

    def forward(self, text_ids, text_mask):
        embeds = self.words(text_ids) * text_mask[..., None]
        mean = embeds.sum(dim=1, keepdim=True) / text_mask.sum(dim=1)[:, None, None]
        return torch.cat([mean, embeds[:, 1:]], dim=1)


class Adding(nn.Module):
    """A fusion encoder of a plugin, which can only fuse one batch: adds a projection of the context's summary."""

    def __init__(self, width, context_width):
        super().__init__()
        self.width, self.layer = width, nn.Linear(context_width, width)

    def forward(self, text, context, keys_values=None):
        return text.embeds if context is None else text.embeds + self.layer(context.summary)[:, None]


@pytest.fixture
def guide(root, monkeypatch):
    """The objectives of the guide, registered for a test, and the two encoders."""
    monkeypatch.setattr(requests, "print_log", lambda *_, **__: None)
    blocks = re.findall(r"```python\n(.*?)```", (root / "docs" / "plugins.md").read_text(), flags=re.DOTALL)
    scope = {"__name__": "guide"}
    with ExitStack() as stack:
        for registry, names in ((OBJECTIVES, ("SigmoidITC", "Tone")), (FUSION_ENCODERS, ["Adding"])):
            for name in names:
                stack.callback(registry.module_dict.pop, name, None)
        stack.callback(TEXT_ENCODERS.module_dict.pop, "BagOfWords", None)
        for block in blocks[:2]:
            exec(compile(block, "docs/plugins.md", "exec"), scope)
        FUSION_ENCODERS.register_module(module=Adding)
        TEXT_ENCODERS.register_module(module=BagOfWords)
        yield scope


def test_parts_written_by_the_guide_train_together(guide):
    objectives = dict(itc=dict(type="SigmoidITC"), tone=dict(type="Tone", weight=0.5), itm=dict(type="ITM"))
    model = tiny_model(
        text_encoder=dict(type="BagOfWords"),
        fusion_encoder=dict(type="Adding"),
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
