"""Texts with one image, layer by layer, are what the fusion encoder reads."""

import pytest
import torch

from tests.models.conftest import random_texts, tiny_model
from x2vlm.data.batch import Batch
from x2vlm.models.fusion.one_image import read_with_image


@pytest.mark.parametrize("probed", [False, True])
def test_states_are_those_of_the_packed_pass(probed):
    model = tiny_model()
    texts = random_texts(3)
    ids, mask = texts["text_ids"], texts["text_mask"]
    pixels = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        batch = Batch(text_ids=ids, text_mask=mask, pixels=pixels, owner=torch.zeros(3, dtype=torch.long))
        encoded = model.encode(batch)
        expected = model.fuse(encoded.context, encoded.text)
        tokens = torch.cat([encoded.context.summary[:1], encoded.context.tokens[0]])
        keys_values = model.fusion_encoder.project(tokens)
        shown = []

        def probe(number, probabilities):
            shown.append(number)
            torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(probabilities.shape[:-1]))
            return probabilities

        layers = model.fusion_encoder.layer
        states = read_with_image(layers, encoded.text.embeds, mask, keys_values, probe if probed else None)
    assert shown == list(range(len(layers))) * probed
    torch.testing.assert_close(states[mask], expected[mask], atol=1e-5, rtol=1e-5)
