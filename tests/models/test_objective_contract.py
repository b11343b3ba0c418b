"""What an objective of a plugin may be, request, give and leave behind: a sentence for each way to break it."""

import pytest
import torch

from x2vlm.building import ConfigError, PartError
from x2vlm.models.fusion.requests import FusionRequest
from x2vlm.models.needs import Needs
from x2vlm.objectives.base import Objective
from x2vlm.testing import tiny_batch, tiny_model


class Mine(Objective):
    """A small loss; the arguments make mistakes."""

    needs = Needs(text=True, context=True, features=True)

    def __init__(self, result=None, spoil=None, request=None, **changes) -> None:
        super().__init__()
        self.result, self.spoil, self.request = result, spoil, request
        for name, value in changes.items():
            setattr(self, name, value)

    def requests(self, encoded):
        return () if self.request is None else [self.request(encoded)]

    def losses(self, encoded, fused):
        if self.spoil is not None:
            self.spoil(encoded)
        loss = encoded.text.feat.pow(2).mean()
        return {"loss_mine": loss} if self.result is None else self.result(loss)


class NoSuper(Objective):
    def __init__(self) -> None:
        self.needs = Needs(text=True)

    def losses(self, encoded, fused):
        return {}


def test_an_objective_that_keeps_its_contract_trains():
    mine = Mine(request=lambda e: FusionRequest(e.text, e.context, at=torch.zeros(4, 1, dtype=torch.long)))
    assert tiny_model(objectives=dict(mine=mine))(tiny_batch())["loss_mine"].requires_grad


BUILT = {
    "no super": (NoSuper, r"NoSuper\.__init__ must call super\(\)\.__init__\(\) first"),
    "a list of modules": (
        lambda: Mine(heads=[torch.nn.Linear(2, 2)]),
        r"Mine\.heads is a list of modules.*Use torch\.nn\.ModuleList",
    ),
    "a factor in words": (lambda: Mine(weight="half"), r"Mine\.weight is 'half'; expected a number"),
    "no factor": (lambda: Mine(weight=None), r"Mine\.weight is None; expected a number"),
    "a factor that is none": (lambda: Mine(weight=float("nan")), r"Mine\.weight is nan; expected a number"),
    "a field without its comma": (
        lambda: Mine(needs=Needs(text=True, batch="labels")),
        r"Mine\.needs has batch='labels'; expected a tuple: \('labels',\)",
    ),
}


@pytest.mark.parametrize("mistake", BUILT)
def test_an_objective_that_is_not_whole_is_refused_when_it_is_built(mistake):
    make, message = BUILT[mistake]
    with pytest.raises(ConfigError, match=rf"^model\.objectives\.mine: {message}"):
        tiny_model(objectives=dict(mine=make()))


IN_PLACE = {
    "encoded.text.embeds": lambda encoded: encoded.text.embeds.detach().mul_(2),
    "encoded.batch.boxes_xyxy": lambda encoded: encoded.batch.boxes_xyxy.mul_(100),
    "encoded.batch.ids": lambda encoded: encoded.batch.ids.zero_(),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_an_objective_that_changes_what_others_read_is_named_with_the_tensor(name):
    model = tiny_model(objectives=dict(mine=Mine(spoil=IN_PLACE[name]), itc=dict(type="ITC")))
    with pytest.raises(PartError, match=rf"^model\.objectives\.mine: Mine changed .*{name}.* in place"):
        model(tiny_batch())


def test_an_objective_that_writes_its_own_texts_may_not_change_what_others_read_either():
    class Sampling(Mine):
        def sample(self, model, encoded):
            encoded.text.embeds.detach().mul_(2)
            return encoded

    model = tiny_model(objectives=dict(mine=Sampling(), itc=dict(type="ITC")))
    with pytest.raises(PartError, match=r"^model\.objectives\.mine: Sampling changed encoded\.text\.embeds in place"):
        model(tiny_batch())


@pytest.mark.parametrize("dtype", [torch.long, torch.bool, torch.complex64])
def test_a_loss_that_is_no_float_is_told(dtype):
    model = tiny_model(objectives=dict(mine=Mine(lambda loss: {"loss_mine": loss.to(dtype)})))
    with pytest.raises(PartError, match=r"as 'loss_mine'; expected named scalars.* A loss is of floats"):
        model(tiny_batch())


def test_a_number_for_the_log_need_not_be_a_float():
    model = tiny_model(objectives=dict(mine=Mine(lambda loss: {"loss_mine": loss, "pairs": torch.tensor(4)})))
    assert model(tiny_batch())["pairs"] == 4


def test_two_losses_of_one_name_do_not_replace_each_other_unseen():
    model = tiny_model(objectives=dict(itc=dict(type="ITC"), mine=Mine(lambda loss: {"loss_itc": loss})))
    message = r"^model\.objectives\.mine: Mine\.losses returned 'loss_itc', which another objective of stream 'image'"
    with pytest.raises(PartError, match=message):
        model({"image": tiny_batch()}, objectives={"image": None})


REQUESTS = {
    "ids for texts": (lambda e: FusionRequest(e.batch.text_ids, e.context), r"text=a Tensor .*expected TextStates"),
    "tokens for a context": (
        lambda e: FusionRequest(e.text, e.context.tokens),
        r"context=a Tensor .*expected a Context",
    ),
    "a position beyond the texts": (lambda e: FusionRequest(e.text, e.context, at=99), r"at=99; .* texts of 6 tokens"),
    "positions for other texts": (
        lambda e: FusionRequest(e.text, e.context, at=torch.zeros(3, 2, dtype=torch.long)),
        r"at=\[3, 2\]; expected a position, or positions \[4, M\]",
    ),
    "fewer texts than contexts": (
        lambda e: FusionRequest(e.text, e.context, texts=torch.tensor([0, 1])),
        r"2 texts and 4 contexts; expected as many",
    ),
}


@pytest.mark.parametrize("mistake", REQUESTS)
def test_a_request_that_cannot_be_read_is_told_with_its_objective(mistake):
    request, message = REQUESTS[mistake]
    model = tiny_model(objectives=dict(mine=Mine(request=request)))
    with pytest.raises(
        PartError, match=rf"^model\.objectives\.mine: Mine\.requests gave a FusionRequest with {message}"
    ):
        model(tiny_batch())
