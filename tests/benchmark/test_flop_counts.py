import pytest
import torch

from tests.models.conftest import VOCAB, tiny_model
from x2vlm.benchmark.flop_counts import Amount, count, flops_by_part
from x2vlm.building import ConfigError

U, B, L, M, V = 3, 6, 5, 2, VOCAB
PATCHES, VISION, TEXT, MLP = 4, 16, 8, 16  # of tiny_model: a grid of 2x2 patches of 8x8 pixels


def attention(queries, keys, width):
    return 2 * queries * keys * width


def by_formula(fusion_depth=2, vision_depth=2, text_depth=1):
    n = PATCHES + 1
    block = 3 * VISION**2 * n + attention(n, n, VISION) + VISION**2 * n + 2 * 4 * VISION**2 * n
    layer = 4 * TEXT**2 * L + attention(L, L, TEXT) + 2 * TEXT * MLP * L
    self_attention = 4 * TEXT**2 * L + attention(L, L, TEXT)
    # Keys and values of the patches and of their mean once for each image.
    cross = 2 * TEXT**2 * L + attention(L, n, TEXT)
    fused = B * (self_attention + cross + 2 * 4 * TEXT**2 * L) + U * n * 2 * VISION * TEXT
    head = 2 * TEXT**2
    return {
        "vision_encoder": U * (PATCHES * 3 * 64 * VISION + vision_depth * block),
        "text_encoder": B * text_depth * layer,
        "fusion_encoder": fusion_depth * fused,
        "objectives.itm": B * (head + 2 * TEXT * 2),
        "objectives.mlm": B * M * (TEXT**2 + TEXT * V),
        "objectives.bbox": B * (head + 2 * TEXT * 4),
    }


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_multiply_adds_are_those_of_the_formula_whatever_computes_attention(attention):
    assert flops_by_part(tiny_model(attention=attention), Amount(B, U, L, M)) == by_formula()


def test_counting_leaves_the_mode_of_a_module_as_it_was():
    module = torch.nn.Linear(2, 3).train()
    assert count(module, (torch.zeros(4, 2),)) == 4 * 2 * 3
    assert module.training


def test_a_vision_encoder_without_an_image_size_is_named():
    model = tiny_model()
    del model.vision_encoder.image_size
    with pytest.raises(ConfigError, match="BEiT2 does not say its image_size"):
        flops_by_part(model, Amount())
