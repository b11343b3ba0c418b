"""What check-plugin looks at beside what is refused anyway: what is learned, what is read, what a metric gives."""

import pytest
import torch
from mmengine.config import ConfigDict
from torch import nn

from x2vlm.building import PartError
from x2vlm.commands.shared.plugin_run import PluginRun
from x2vlm.data import Adapter, PackSample, RecordError
from x2vlm.data.streams import Stream
from x2vlm.models.needs import Needs
from x2vlm.objectives.base import Objective
from x2vlm.registry import METRICS
from x2vlm.testing import tiny_batch, tiny_model


class Scale(Objective):
    needs = Needs(text=True, context=True, features=True)

    def __init__(self, give=lambda loss: loss, needs=None) -> None:
        super().__init__()
        self.give, self.scale, self.needs = give, nn.Parameter(torch.ones(())), needs or self.needs

    def losses(self, encoded, fused):
        return {"loss_scale": self.give(self.scale * encoded.text.feat.mean())}


class Records(Adapter):
    def __init__(self, pipeline=(dict(type=PackSample),), give=None) -> None:
        super().__init__(pipeline)
        self.give = give

    def __len__(self) -> int:
        return 2

    def record(self, index):
        if self.give == "none usable":
            raise RecordError(f"mine:{index}", "there is no caption")
        return {"where": f"mine:{index}", "captions": "a dog", "texts": ["a dog"]}


class OneBatch(Stream):
    """A stream of a batch that is there already."""

    def __init__(self, objectives, dataset=None) -> None:
        super().__init__("image", dataset or Records(), None, 4, objectives=objectives)

    def start(self, seed) -> None:
        pass

    def __next__(self):
        return tiny_batch()


def train(model, objectives=None, dataset=None):
    run = PluginRun(ConfigDict())
    run._train(model, {"image": OneBatch(objectives, dataset)})
    return run


def test_a_plugin_that_learns_has_no_problem():
    run = train(tiny_model(objectives=dict(mine=Scale(), itc=dict(type="ITC"))))
    assert not run.problems
    assert run.done == ["losses of stream image"]


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (
            lambda loss: loss.detach(),
            "stream 'image': loss_scale depends on no weight, so that nothing is learned from it",
        ),
        (lambda loss: loss * float("nan"), "stream 'image': loss_scale is nan, in the first step."),
    ],
)
def test_a_loss_of_which_nothing_is_learned_is_told(give, message):
    run = train(tiny_model(objectives=dict(mine=Scale(give), itc=dict(type="ITC"))))
    assert run.problems[0].startswith(message)


def test_an_objective_that_lives_on_the_needs_of_others_is_told():
    mine = Scale(needs=Needs(text=True))
    with pytest.raises(PartError, match=r"Its needs do not name.*It was computed alone: others need"):
        train(tiny_model(objectives=dict(mine=mine, itc=dict(type="ITC"))))


class Grid(nn.Module):
    def __init__(self, change) -> None:
        super().__init__()
        self.conv, self.change = nn.Conv2d(3, 16, 4, 4), change
        self.width, self.grid, self.image_size = 16, (4, 4), (16, 16)

    def forward(self, images):
        return self.change(self.conv(images).flatten(2).transpose(1, 2)), None


def test_a_tower_of_which_nothing_is_learned_is_told():
    run = train(tiny_model(vision_encoder=Grid(torch.Tensor.detach)))
    assert run.problems == [
        "model.vision_encoder: no loss reaches a weight of Grid, so that nothing of it is learned. Does it detach, or "
        "compute without gradients? model.frozen is for parts that are not to be trained."
    ]


def test_weights_that_no_loss_reaches_are_a_note():
    encoder = Grid(lambda tokens: tokens)
    encoder.spare = nn.Linear(2, 2)
    run = train(tiny_model(vision_encoder=encoder))
    assert not run.problems
    expected = "no loss reaches 2 of 4 weights of Grid: spare.weight, spare.bias."
    assert f"model.vision_encoder: {expected}" in run.notes


def test_records_that_cannot_be_used_are_told_before_a_batch_is_tried():
    run = train(tiny_model(), dataset=Records(give="none usable"))
    assert run.problems[-1] == (
        "streams.image.dataset: none of the first and last 2 records could be used, so no batch was made: "
        "mine:0: there is no caption"
    )
    assert run.done == []


def test_a_misspelt_key_of_a_record_is_a_note():
    run = train(tiny_model(), dataset=Records())
    assert any("'captions' is no key that the library reads. Did you mean 'caption'?" in note for note in run.notes)


class Shift:
    moves_pixels = True

    def __call__(self, record):
        moved = [frame.copy() for frame in record.get("frames", ())]
        for frame in moved:
            frame[:, 8:] = frame[:, :-8].copy()
        return record | ({"frames": moved} if moved else {})


def test_a_transform_that_leaves_the_boxes_behind_is_told():
    run = train(tiny_model(), dataset=Records(pipeline=(Shift(), PackSample())))
    assert any("pipeline: Shift: draw 0: the rectangle is at" in problem for problem in run.problems)


class Floats:
    moves_pixels = False

    def __call__(self, record):
        return record | {"frames": [frame / 255 for frame in record["frames"]]} if "frames" in record else record


def test_a_sentence_names_a_transform_once():
    run = train(tiny_model(), dataset=Records(pipeline=(Floats(), PackSample())))
    assert (
        "streams.image.dataset.pipeline: Floats: a frame is float64 [48, 64, 3]; expected uint8 [H, W, 3],"
        in (run.problems[0])
    )


class Empty:
    def evaluate(self, model, loader):
        return {}


class Undefined:
    def evaluate(self, model, loader):
        return {"recall": float("nan")}


@pytest.mark.parametrize(
    ("metric", "note"),
    [(Empty(), "evaluation 'mine': Empty.evaluate returned no number."), (Undefined(), "evaluation 'mine': ")],
)
def test_a_metric_without_a_number_or_with_nan_is_a_note_as_one_batch_may_explain_it(monkeypatch, metric, note):
    monkeypatch.setattr("x2vlm.commands.shared.plugin_run.build_evaluation_loader", lambda *_, **__: [tiny_batch()])
    run = PluginRun(ConfigDict())
    run._evaluate("mine", {"metric": metric, "batch_size": 2}, tiny_model(), None)
    assert run.problems == []
    assert len(run.notes) == 1 and run.notes[0].startswith(note)


class Score:
    def evaluate(self, model, loader):
        return sum(len(batch) for batch in loader) / len(loader)


def test_a_metric_of_a_plugin_evaluates_a_batch(monkeypatch):
    monkeypatch.setattr("x2vlm.commands.shared.plugin_run.build_evaluation_loader", lambda *_, **__: [tiny_batch()] * 3)
    monkeypatch.setitem(METRICS.module_dict, "Score", Score)
    run = PluginRun(ConfigDict())
    run._evaluate("mine", ConfigDict(metric=dict(type="Score"), batch_size=2), tiny_model(), None)
    assert run.problems == [
        "evaluation 'mine': Score.evaluate returned float; expected a dict of numbers by name, such as "
        "{'recall@1': 0.4}."
    ]
