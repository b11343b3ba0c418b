import pytest
import torch
from torch.nn.functional import mse_loss

from tests.models.conftest import image_batch, region_batch, tiny_model
from x2vlm.data.batch import Batch

VISION = dict(type="BEiT2", image_size=16, patch_size=8, width=16, depth=2, num_heads=2, mask_token=True)
HIDDEN = torch.tensor([[True, False, True, False], [False, True, True, True]])


def model(**changes):
    built = tiny_model(vision_encoder=VISION, objectives={"mim": dict(type="MIM", **changes), "itc": dict(type="ITC")})
    torch.nn.init.normal_(built.vision_encoder.net.mask_token)
    return built


def images():
    """Two images without texts, as of ImageNet."""
    batch = image_batch(2)
    return Batch(None, None, pixels=batch.pixels, owner=torch.arange(2), masked_patches=HIDDEN)


def test_the_loss_is_that_of_hidden_patches_and_of_the_mean_of_all():
    built, batch = model(), images()
    whole = built.vision_encoder(batch.pixels)[0]
    guess = built.vision_encoder(batch.pixels, batch.masked_patches)[0]
    expected = mse_loss(guess[HIDDEN], whole[HIDDEN]) + mse_loss(guess.mean(1), whole.mean(1))
    torch.testing.assert_close(built(batch, objectives=("mim",))["loss_mim"], expected)


def test_the_patches_alone_are_an_option():
    built, batch = model(mean_weight=0.0), images()
    whole, guess = built.vision_encoder(batch.pixels)[0], built.vision_encoder(batch.pixels, HIDDEN)[0]
    torch.testing.assert_close(built(batch, objectives=("mim",))["loss_mim"], mse_loss(guess[HIDDEN], whole[HIDDEN]))


def test_the_encoder_learns_from_its_guess_and_not_from_what_is_to_be_hit():
    built, batch = model(), images()
    built(batch, objectives=("mim",))["loss_mim"].backward()
    ours = {name: p.grad.clone() for name, p in built.vision_encoder.named_parameters() if p.grad is not None}
    built.zero_grad()
    with torch.no_grad():
        whole = built.vision_encoder(batch.pixels)[0]
    guess = built.vision_encoder(batch.pixels, HIDDEN)[0]
    (mse_loss(guess[HIDDEN], whole[HIDDEN]) + mse_loss(guess.mean(1), whole.mean(1))).backward()
    assert ours.keys() == dict(built.vision_encoder.named_parameters()).keys()
    for name, parameter in built.vision_encoder.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad)


def test_whole_images_are_encoded_once_for_all_objectives():
    built, batch = model(), image_batch(2)
    batch.masked_patches = HIDDEN
    calls = []
    built.vision_encoder.register_forward_pre_hook(
        lambda _, args, kwargs: calls.append("masked_patches" in kwargs), with_kwargs=True
    )
    built(batch)
    assert calls == [False, True]


def test_images_with_several_texts_count_once():
    built, batch = model(), region_batch()
    alone = Batch(None, None, pixels=batch.pixels, owner=torch.arange(2), masked_patches=HIDDEN)
    batch.masked_patches = HIDDEN
    losses = [built(one, objectives=("mim",))["loss_mim"] for one in (batch, alone)]
    torch.testing.assert_close(losses[0], losses[1])


def test_a_batch_without_hidden_patches_costs_only_the_mean():
    built, batch = model(), images()
    batch.masked_patches = torch.zeros_like(HIDDEN)
    assert built(batch, objectives=("mim",))["loss_mim"].item() == pytest.approx(0.0, abs=1e-10)


def test_a_batch_that_hides_nothing_is_refused_by_name():
    batch = images()
    batch.masked_patches, batch.where = None, ["a.jpg", "b.jpg"]
    with pytest.raises(ValueError, match=r"objective 'mim' needs batch\.masked_patches, but a\.jpg, b\.jpg"):
        model()(batch, objectives=("mim",))


def test_a_negative_factor_is_refused():
    with pytest.raises(ValueError, match="mean_weight is -1"):
        model(mean_weight=-1)
