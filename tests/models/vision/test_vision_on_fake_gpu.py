"""Vision encoders on tensors of a GPU that is not there: shapes and devices are checked, nothing is computed."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from x2vlm.models.vision import BEiT2, CLIPViT, Swin, TimmVisionEncoder

SMALL = dict(image_size=32, patch_size=16, width=16, depth=2, num_heads=1)
PRODUCTS = {False: torch.float32, True: torch.bfloat16}
MADE = {
    "BEiT2": lambda: BEiT2(**SMALL, drop_path=0.5, mask_token=True),
    "CLIPViT": lambda: CLIPViT(**SMALL, local_attn_depth=1),
    "Swin": lambda: Swin(32, patch_size=2, first_width=16, depths=(2, 2), num_heads=(1, 2), window=4, drop_path=0.5),
    "TimmVisionEncoder": lambda: TimmVisionEncoder(
        "vit_tiny_patch16_224", 32, options=dict(depth=1, embed_dim=16, num_heads=1), sincos=True
    ),
}


def moved(module, mode):
    """The module with tensors of ``cuda:0`` that have shapes and no values, for parameters and buffers."""

    def fake(tensor):
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda:0")

    with mode:
        for part in module.modules():
            for name, tensor in part._parameters.items():
                part._parameters[name] = tensor if tensor is None else nn.Parameter(fake(tensor))
            for name, tensor in part._buffers.items():
                part._buffers[name] = tensor if tensor is None else fake(tensor)
    return module


@contextmanager
def half_precision(on):
    """Autocast of a GPU; ``torch.autocast`` itself turns itself off where there is none."""
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", on)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])
        torch.clear_autocast_cache()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", MADE)
def test_images_of_a_gpu_are_encoded_there_without_reading_anything_back(name, training, autocast):
    mode = FakeTensorMode()
    encoder = moved(MADE[name]().train(training), mode)
    with mode, half_precision(autocast):
        assert (torch.ones(1, 1, device="cuda:0") @ torch.ones(1, 1, device="cuda:0")).dtype == PRODUCTS[autocast]
        tokens, summary = encoder(torch.empty(3, 3, 32, 32, device="cuda:0"))
    assert tokens.shape == (3, encoder.grid[0] * encoder.grid[1], encoder.width)
    assert {x.device for x in (tokens, summary) if x is not None} == {torch.device("cuda:0")}


def test_regions_are_encoded_on_the_gpu():
    mode = FakeTensorMode()
    encoder = moved(MADE["CLIPViT"](), mode)
    with mode:
        images = torch.empty(2, 3, 32, 32, device="cuda:0")
        owner = torch.empty(5, dtype=torch.long, device="cuda:0")
        tokens, summary = encoder.encode_regions(images, owner, owner.new_ones(5, 4, dtype=torch.bool))
    assert (tokens.shape, summary.shape) == ((7, 4, 16), (7, 16))
    assert tokens.device == torch.device("cuda:0")


def test_masked_patches_are_replaced_on_the_gpu():
    mode = FakeTensorMode()
    encoder = moved(MADE["BEiT2"](), mode)
    with mode:
        images = torch.empty(2, 3, 32, 32, device="cuda:0")
        assert encoder(images, torch.ones(2, 4, dtype=torch.bool, device="cuda:0"))[0].shape == (2, 4, 16)


@pytest.mark.parametrize("what", ["a tensor of the CPU", "a value that is read"])
def test_what_a_gpu_would_stumble_over_is_noticed(what):
    class Stumbling(nn.Linear):
        table = torch.ones(3, 4)

        def forward(self, x):
            return super().forward(x) + (self.table if "tensor" in what else x.sum().item())

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    layer = moved(Stumbling(4, 4), mode)
    with mode, pytest.raises(Exception, match=r"device|_local_scalar_dense"):
        layer(torch.empty(3, 4, device="cuda:0"))


def test_the_encoders_cover_the_house():
    own = {one for one in vars(__import__("x2vlm.models.vision", fromlist=["x"])).values() if isinstance(one, type)}
    assert {one.__name__ for one in own} == set(MADE)
