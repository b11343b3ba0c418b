"""The mixed step: one update from all streams; and evaluations by name."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from tests.engine.recorder import json_lines, trained
from tests.engine.tiny_parts import TinyModel
from tests.models.conftest import tiny_model
from x2vlm.engine import build_runner
from x2vlm.engine.failures.nan_policy import NotFiniteError
from x2vlm.engine.total_loss import sum_of_losses
from x2vlm.engine.train_loop import in_order_of_backward
from x2vlm.engine.train_step import takes_several_batches
from x2vlm.part_errors import ConfigError
from x2vlm.registry import MODELS


def test_a_step_is_one_update_of_the_weighted_sum_of_all_streams(config):
    cfg = config(max_iters=1)
    cfg["model"]["dropout"] = 0.0
    cfg["optim_wrapper"] |= dict(optimizer=dict(type="SGD", lr=1.0), clip_grad=None)
    del cfg["param_scheduler"], cfg["evaluations"]
    runner, recorder = trained(cfg)
    batches, outputs = recorder.steps[0]
    expected = TinyModel(dropout=0.0)
    expected.clamp_temperature()
    losses = expected(batches["image"]), expected(batches["text"], objectives=["a"])
    total = losses[0]["loss_a"] + losses[0]["loss_b"] + 0.5 * losses[1]["loss_a"]
    total.backward()
    for (name, ours), theirs in zip(runner.model.named_parameters(), expected.parameters(), strict=True):
        grad = 0 if theirs.grad is None else theirs.grad
        torch.testing.assert_close(ours, theirs - grad, msg=name)
    assert outputs["loss"].item() == pytest.approx(total.item())
    assert outputs.keys() == {"loss", "image.loss_a", "image.loss_b", "image.size", "text.loss_a", "text.size"}
    assert runner.model.clamped == 1


@MODELS.register_module(force=True)
class TinyModelForSeveral(TinyModel):
    """Takes several batches by stream, too."""

    takes_several_batches = True

    def forward(self, batch, mode="loss", objectives=None):
        if not isinstance(batch, dict):
            return super().forward(batch, mode, objectives)
        self.calls.append(sorted(batch))
        return {name: super(type(self), self).forward(one, mode, objectives[name]) for name, one in batch.items()}


def test_streams_go_together_or_one_by_one_to_the_same_weights(config, tmp_path):
    weights, together = [], []
    for passes in ("together", "by_stream"):
        cfg = config(work_dir=tmp_path / passes)
        cfg["model"] = dict(type="TinyModelForSeveral", dropout=0.0)
        cfg["train_cfg"]["passes"] = passes
        cfg["streams"]["video"] = copy.deepcopy(cfg["streams"]["image"])
        runner, _ = trained(cfg)
        weights.append(runner.model.state_dict())
        together.append([call for call in runner.model.calls if isinstance(call, list)])
    assert together == [[["image", "text"]] * 4, []]  # a video goes by itself
    for name, ours in weights[0].items():
        torch.testing.assert_close(ours, weights[1][name], atol=1e-6, rtol=1e-5, msg=name)


def test_a_model_of_one_batch_at_a_time_is_told_of_in_the_log(config, tmp_path):
    trained(config(max_iters=1))
    (log,) = tmp_path.rglob("*.log")
    assert "TinyModel takes one batch at a time: every stream goes forward and backward by itself" in log.read_text()


def test_the_streams_of_x2vlm_go_together():
    assert takes_several_batches(tiny_model())


def test_passes_that_are_not_known_are_refused_with_those_that_are(config):
    cfg = config()
    cfg["train_cfg"]["passes"] = "by_streams"
    with pytest.raises((ValueError, ConfigError), match=r"passes is 'by_streams'.*'?by_stream'?.*Accepted: together"):
        trained(cfg)


def test_video_comes_first_and_the_others_as_in_the_config():
    names = ["text", "image", "video", "region"]
    assert list(in_order_of_backward(dict.fromkeys(names))) == ["video", "text", "image", "region"]
    assert list(in_order_of_backward(dict.fromkeys(["image", "video_clean"]))) == ["video_clean", "image"]


def test_epochs_are_passes_over_the_named_stream_and_evaluations_count_them(config):
    """10 records in batches of 2 are 5 iterations; evaluated after the second epoch and the third."""
    loop = dict(type="MixedTrainLoop", max_epochs=3, epoch_of="image", val_interval=1, val_begin=2)
    runner, recorder = trained(config(train_cfg=loop))
    assert runner.max_iters == 15
    assert recorder.events == ["step"] * 10 + ["val"] + ["step"] * 5 + ["val"]


def test_checkpoints_can_count_epochs(config, tmp_path):
    cfg = config(train_cfg=dict(type="MixedTrainLoop", max_epochs=4, epoch_of="text"))  # 3 iterations an epoch
    cfg["default_hooks"]["checkpoint"] = dict(type="EpochCheckpointHook", interval=2)
    trained(cfg)
    assert sorted(path.name for path in Path(cfg["work_dir"]).glob("*.pth")) == ["iter_12.pth", "iter_6.pth"]


def test_a_run_with_another_batch_than_the_stated_one_does_not_start(config):
    cfg = config(train_cfg=dict(type="MixedTrainLoop", max_iters=2, global_batch=dict(image=1024)))
    with pytest.raises(ConfigError, match=r"train_cfg: .*global_batch\.image is 1024 .* makes 2\."):
        trained(cfg)
    cfg["train_cfg"]["global_batch"] = dict(image=4)
    cfg["optim_wrapper"]["accumulative_counts"] = 2
    trained(cfg)


def test_the_batch_of_a_stream_that_is_switched_off_is_not_asked_for(config):
    cfg = config(train_cfg=dict(type="MixedTrainLoop", max_iters=1, global_batch=dict(image=2, text=99)))
    cfg["streams"]["text"]["weight"] = 0.0
    trained(cfg)


def test_two_updates_a_step_are_two_steps_of_the_optimizer_in_their_order(config):
    cfg = config(max_iters=1)
    cfg["model"]["dropout"] = 0.0
    cfg["optim_wrapper"] |= dict(optimizer=dict(type="SGD", lr=0.1), clip_grad=None)
    cfg["train_cfg"]["plan"] = dict(updates=(("text",), ("image",)))
    del cfg["param_scheduler"], cfg["evaluations"]
    runner, recorder = trained(cfg)
    batches, outputs = recorder.steps[0]
    expected = TinyModel(dropout=0.0)
    expected.clamp_temperature()
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.1)
    (0.5 * expected(batches["text"], objectives=["a"])["loss_a"]).backward()
    optimizer.step(), optimizer.zero_grad()
    second = sum_of_losses(expected(batches["image"]))
    second.backward()
    optimizer.step()
    for ours, theirs in zip(runner.model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert outputs["image.loss_a"] + outputs["image.loss_b"] == pytest.approx(second.item())
    assert runner.model.clamped == 1


def test_the_schedule_moves_once_a_step_however_many_updates_it_has(config):
    cfg = config(max_iters=3, param_scheduler=dict(type="WarmupLinear", warmup=2))
    cfg["train_cfg"]["plan"] = dict(updates=(("text",), ("image",)))
    runner = build_runner(cfg)
    rates = []

    class Rates(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            rates.append(runner.optim_wrapper.param_groups[0]["lr"])

    runner.register_hook(Rates())
    runner.train()
    assert rates == pytest.approx([0, 0.005, 0.01])


def test_several_updates_a_step_cannot_be_accumulated(config):
    cfg = config(max_iters=2)
    cfg["optim_wrapper"]["accumulative_counts"] = 2
    cfg["train_cfg"]["plan"] = dict(updates=(("text",), ("image",)))
    with pytest.raises(ConfigError, match=r"train_cfg: .*cannot be accumulated over 2"):
        trained(cfg)


TURNS = dict(only=dict(share=0.5, streams=("image",)), both=dict(share=0.5, without=("b",)))


def test_a_turn_runs_its_objectives_and_draws_no_other_stream(config):
    cfg = config(max_iters=12)
    cfg["train_cfg"]["plan"] = dict(turns=TURNS)
    runner, recorder = trained(cfg)
    steps = [tuple(batches) for batches, _ in recorder.steps]
    assert set(steps) == {("image",), ("image", "text")}
    assert runner.train_loop.state_dict()["draws"] == {"image": 2 * 12, "text": 3 * steps.count(("image", "text"))}
    for (_, outputs), step in zip(recorder.steps, steps, strict=True):
        assert ("image.loss_b" in outputs) == ("text" not in step)


def test_an_objective_that_is_given_up_is_not_trained_from_there_on(config):
    cfg = config(max_iters=4)
    cfg["train_cfg"]["plan"] = dict(until=dict(b=2))
    _, recorder = trained(cfg)
    assert ["image.loss_b" in outputs for _, outputs in recorder.steps] == [True, True, False, False]


def test_turns_go_on_as_they_would_have_after_resuming(config, tmp_path):
    def run(folder, iters, **changes):
        cfg = config(max_iters=iters, work_dir=tmp_path / folder, **changes)
        cfg["train_cfg"]["plan"] = dict(turns=TURNS)
        cfg["param_scheduler"] = []
        return trained(cfg)

    whole, _ = run("whole", 8)
    run("parts", 3)
    parts, _ = run("parts", 8, resume=True)
    for ours, theirs in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_stream_of_weight_0_costs_nothing(config):
    cfg = config(max_iters=2)
    cfg["streams"]["text"] = dict(dataset=dict(type="NotEvenThere"), batch_size=3, weight=0.0)
    _, recorder = trained(cfg)
    assert list(recorder.steps[0][0]) == ["image"]


def test_accumulating_two_iterations_is_a_step_on_both_their_batches(config):
    cfg = config(max_iters=2)
    cfg["model"]["dropout"] = 0.0
    cfg["optim_wrapper"] |= dict(optimizer=dict(type="SGD", lr=1.0), clip_grad=None, accumulative_counts=2)
    del cfg["param_scheduler"], cfg["evaluations"], cfg["streams"]["text"]
    runner, recorder = trained(cfg)
    expected = TinyModel(dropout=0.0)
    expected.clamp_temperature()
    for batches, _ in recorder.steps:
        (sum_of_losses(expected(batches["image"])) / 2).backward()
    grads = {name: p.grad for name, p in expected.named_parameters() if p.grad is not None}
    for name, ours in runner.model.named_parameters():
        if name in grads:
            torch.testing.assert_close(ours, expected.get_parameter(name) - grads[name], msg=name)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains(config, precision):
    cfg = config(max_iters=10)  # the first updates of fp16 are skipped, until its scale fits
    cfg["optim_wrapper"]["precision"] = precision
    cfg["val_cfg"] = dict(type="EvaluationLoop", precision="bf16")
    runner, recorder = trained(cfg)
    assert len(recorder.steps) == 10
    assert not torch.equal(runner.model.vision_proj.weight, TinyModel().vision_proj.weight)


def test_a_loss_that_is_no_number_stops_the_run_and_names_stream_objective_and_records(config):
    cfg = config(max_iters=10)
    cfg["model"]["broken_after"] = 4  # calls: the fifth is the image stream of the third step
    with pytest.raises(NotFiniteError, match=r"iteration 3: (.|\n)*image\.loss_b is nan\. Records: tiny.jsonl:\d"):
        trained(cfg)


def test_the_weights_are_those_from_before_when_a_loss_is_no_number(config):
    cfg = config(max_iters=1)
    cfg["model"]["broken_after"] = 0
    runner = build_runner(cfg)
    with pytest.raises(NotFiniteError):
        runner.train()
    assert all(parameter.isfinite().all() for parameter in runner.model.parameters())


def test_bad_records_are_counted_in_the_run_and_listed(config):
    cfg = config(max_iters=10, bad_records=dict(max_fraction=0.5))
    cfg["streams"]["image"]["dataset"] |= dict(bad=[1, 3])
    cfg["evaluations"]["held_out"]["dataset"] |= dict(bad=[0], file="held.jsonl")
    _, recorder = trained(cfg)
    lines = json_lines(cfg, "bad_records.jsonl")
    assert {(line["stream"], line["where"]) for line in lines} == {
        ("image", "tiny.jsonl:1"),
        ("image", "tiny.jsonl:3"),
        ("held_out", "held.jsonl:0"),
    }
    assert all(len(batches["image"]) == 2 for batches, _ in recorder.steps)


def test_too_many_bad_records_stop_the_run(config):
    from x2vlm.data.bad_record_log import TooManyBadRecordsError

    cfg = config(max_iters=100, bad_records=dict(max_fraction=0.1, min_records=10))
    cfg["streams"]["image"]["dataset"] |= dict(bad=[1, 3, 5])
    with pytest.raises(TooManyBadRecordsError, match=r"stream 'image'(.|\n)*tiny.jsonl:\d: it is broken"):
        trained(cfg)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("train_cfg.max_iters", 0, r"train_cfg: .*max_iters=0"),
        ("val_cfg", dict(type="EvaluationLoop", precision="fp9"), r"val_cfg: .*precision 'fp9' is not known"),
        ("evaluations.held_out.metric", dict(type="TinyModel"), r"evaluations\.held_out\.metric: 'TinyModel' is not"),
        ("bad_records", dict(max_fracton=0.1), r"bad_records: .*'max_fracton'.*Did you mean 'max_fraction'"),
    ],
)
def test_a_mistake_is_reported_before_the_first_step(config, path, value, message):
    cfg = Config(copy.deepcopy(config()))
    cfg.merge_from_dict({path: value})
    with pytest.raises(ConfigError, match=message):
        runner = build_runner(cfg)
        _ = runner.train_loop, runner.val_loop


def test_pairs_are_what_the_loader_facade_counts(config):
    loader = build_runner(config(max_iters=3)).train_dataloader
    assert (len(loader), loader.batch_size, loader.dataset.metainfo) == (3, 5, {})


@pytest.mark.parametrize("key", ["streams", "train_cfg", "optim_wrapper"])
def test_what_training_needs_and_lacks_is_named(config, key):
    cfg = config(2)
    del cfg[key]
    with pytest.raises(ConfigError, match=f"{key}: is missing, and training needs it"):
        build_runner(cfg)
