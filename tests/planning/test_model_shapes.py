import pytest

from tests.planning import shaped
from x2vlm.planning.model_shapes import largest_unit, layer_parameters, parameters


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("options", [{}, {"width": 48}, {"tied": False}, {"num_frames": 3}, {"objectives": ("itc",)}])
def test_parameters_are_those_of_a_model_that_is_built(options):
    model, counted = shaped.model(**options), parameters(shaped.shape(**options))
    for part in ("vision_encoder", "text_encoder", "fusion_encoder", "objectives"):
        assert counted[part] == count(getattr(model, part)), part
    assert sum(counted.values()) == count(model)


def test_parameters_of_layers_are_those_of_the_modules_layers():
    model, shape = shaped.model(), shaped.shape()
    layers = [*model.vision_encoder.net.blocks, *model.text_encoder.net.encoder.layer, *model.fusion_encoder.layer]
    assert layer_parameters(shape) == sum(map(count, layers))
    rest = count(model) - layer_parameters(shape)
    assert largest_unit(shape) == max([rest, *map(count, layers)])


def test_the_published_sizes_come_out():
    """X2-VLM: 255 M in base, 593 M in large (arXiv:2211.12402)."""
    from x2vlm.planning.model_shapes import FusionShape, ModelShape, TextShape, VisionShape

    base = ModelShape(
        VisionShape(768, 12, 12, 14, 14),
        TextShape(768, 12, 12, 3072, 30522, 512, 2),
        FusionShape(768, 768, 6, 12, 3072),
    )
    large = ModelShape(
        VisionShape(1024, 24, 16, 14, 14),
        TextShape(1024, 12, 16, 4096, 30522, 512, 2),
        FusionShape(1024, 1024, 6, 16, 4096),
    )
    assert [round(sum(parameters(shape).values()) / 1e6) for shape in (base, large)] == [255, 593]
