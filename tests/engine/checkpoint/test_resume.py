"""Where a run starts: the latest checkpoint, a named one, or weights; never over another run."""

import subprocess
import sys

import pytest

from tests.engine.checkpoint.test_loop_state import assert_same, saving, weights
from x2vlm.building import ConfigError
from x2vlm.engine import latest_checkpoint
from x2vlm.engine.checkpoint.work_dir_lock import LOCK


def test_the_latest_checkpoint_is_found_by_number_and_wherever_the_folder_went(tmp_path):
    for number in (4, 30, 200):
        (tmp_path / f"iter_{number}.pth").touch()
    assert latest_checkpoint(tmp_path).name == "iter_200.pth"
    (tmp_path / "last_checkpoint").write_text("/where/it/was/iter_30.pth")  # killed before it was noted
    assert latest_checkpoint(tmp_path).name == "iter_200.pth"
    assert latest_checkpoint(tmp_path / "nowhere") is None


def test_a_checkpoint_of_another_name_is_found_by_the_note(tmp_path):
    (tmp_path / "mine.pth").touch()
    (tmp_path / "last_checkpoint").write_text("/where/it/was/mine.pth")
    assert latest_checkpoint(tmp_path) == tmp_path / "mine.pth"


def test_a_new_run_does_not_share_the_folder_of_an_old_one(config, train):
    train(config(4))
    with pytest.raises(
        ConfigError, match=r"holds the checkpoints of an earlier run \(iter_4.pth .*--resume.*--work-dir"
    ):
        train(config(4))


def test_a_foreign_checkpoint_is_not_resumed_into_a_used_folder(config, train, tmp_path):
    train(config(4))
    train(config(4, work_dir=tmp_path / "other"))
    with pytest.raises(ConfigError, match=r"iter_4\.pth is not one of them.*--work-dir"):
        train(config(5, resume=str(tmp_path / "other" / "iter_4.pth")))


def test_going_back_does_not_overwrite_what_came_later(config, train, tmp_path):
    train(saving(config(4), 2))
    with pytest.raises(ConfigError, match=r"iter_2\.pth would overwrite iter_4\.pth beside it.*--work-dir"):
        train(config(6, resume=str(tmp_path / "work" / "iter_2.pth")))


def test_a_named_checkpoint_is_resumed_into_a_new_folder(config, train, tmp_path):
    train(saving(config(4), 2))
    runner = train(config(6, work_dir=tmp_path / "branch", resume=str(tmp_path / "work" / "iter_2.pth")))
    assert runner.iter == 6
    assert (tmp_path / "branch" / "iter_6.pth").is_file()


def test_resuming_where_nothing_is_begins(config, train):
    assert train(config(3, resume=True)).iter == 3


def test_resuming_wins_over_the_weights_to_start_from(config, train, tmp_path):
    train(config(4, work_dir=tmp_path / "pretrained"))
    start = dict(load_from=str(tmp_path / "pretrained" / "iter_4.pth"))
    train(saving(config(2, **start), 1))
    assert train(config(3, resume=True, **start)).loaded_from.endswith("work/iter_2.pth")


def test_weights_to_start_from_begin_a_new_run(config, train, tmp_path):
    train(config(4, work_dir=tmp_path / "pretrained"))
    cfg = config(2, load_from=str(tmp_path / "pretrained" / "iter_4.pth"), param_scheduler=None)
    cfg["optim_wrapper"]["optimizer"] = dict(type="SGD", lr=0.0)
    runner = train(cfg)
    assert runner.iter == 2
    given = weights(tmp_path / "pretrained" / "iter_4.pth")
    given["temperature"].clamp_(max=0.5)  # as at the beginning of every step
    assert_same(weights(tmp_path / "work" / "iter_2.pth"), given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(resume="nowhere.pth"), r"--resume: there is no checkpoint nowhere\.pth \(looked from /"),
        (dict(load_from="nowhere.pth"), r"there is no checkpoint nowhere\.pth"),
    ],
)
def test_a_checkpoint_that_does_not_exist_is_refused(config, train, change, message):
    with pytest.raises(ConfigError, match=message):
        train(config(4, **change))


def test_a_checkpoint_of_another_model_is_not_resumed(config, train):
    train(config(2))
    with pytest.raises(ConfigError, match=r"iter_2\.pth does not fit this config's model(.|\n)*vision_proj"):
        train(config(4, resume=True, model=dict(type="TinyModel", width=6)))


def test_a_lock_that_cannot_be_opened_stops_no_training(config, train, tmp_path):
    (tmp_path / "work" / LOCK).mkdir(parents=True)
    assert train(config(2)).iter == 2


def test_two_processes_do_not_train_in_one_folder_and_a_killed_one_leaves_nothing(config, train, tmp_path, root):
    code = (
        "import sys, time; from x2vlm.engine.checkpoint.work_dir_lock import claim; claim(sys.argv[1]); "
        "print('claimed', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "work")]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "claimed\n"
        with pytest.raises(ConfigError, match=rf"work: process {other.pid} is training in this folder.*--work-dir"):
            train(config(2))
        other.kill()
    assert train(config(2)).iter == 2
    assert not (tmp_path / "work" / LOCK).exists()
