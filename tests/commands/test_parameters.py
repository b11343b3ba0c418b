"""Models of full size, built without memory, have the published numbers of parameters."""

import json

import pytest

from x2vlm.building import ConfigError
from x2vlm.cli import main
from x2vlm.commands.parameters import empty_model, parameters_by_part
from x2vlm.config import load_config
from x2vlm.weights.published_state import from_published

PRETRAINING = {
    "x2vlm_base_4m": "XVLM_base_4m_pretraining",
    "x2vlm_base_1b_stage1": "XVLM_base_1b_pretraining",
    "x2vlm_base_1b_stage2": "XVLM_base_1b_stage2_pretraining",
    "x2vlm_large_4m": "XVLM_large_4m_pretraining",
    "x2vlm_large_1b_stage2": "XVLM_large_1b_stage2_pretraining",
    "cclm_base": "CrossViewLM_base_pretraining",
    "cclm_large": "CrossViewLM_large_pretraining",
}
# task -> objectives, size of images, what else differs from pre-training
TASKS = {
    "XVLMForRetrieval_{}_384px": (dict(itc=dict(type="ITC"), itm=dict(type="ITM")), 384, {}),
    "XVLMForGrounding_{}_384px": (dict(bbox=dict(type="BBox")), 384, dict(embed_dim=None)),
    "XVLMForVQA_{}_768px": (dict(answer=dict(type="AnswerGeneration")), 768, dict(embed_dim=None)),
    "XVLMForMLMCaptioning_{}_384px": (dict(caption=dict(type="CaptionGeneration")), 384, dict(embed_dim=None)),
    "XVLMForNLVR_{}_384px": (
        dict(classification=dict(type="Classification", num_classes=2, contexts=2)),
        384,
        dict(embed_dim=None),
    ),
    "XVLMForVQAClassification_{}_video_224px_5frames_1500labels": (
        dict(classification=dict(type="Classification", num_classes=1500)),
        224,
        dict(embed_dim=None, num_frames=5),
    ),
}


@pytest.fixture(scope="module")
def published(shared):
    return json.loads((shared / "golden" / "state_dict_names.json").read_text())


def shapes_of(published, name):
    """Our names and shapes of a published class, without what our models do not have."""
    import torch

    state = {key: torch.zeros(()).expand(shape) for key, shape in published["full_size"][name]}
    ours = from_published({key: value for key, value in state.items() if "position_i" not in key})
    return {key: tuple(value.shape) for key, value in ours.items() if not key.startswith("unused.")}


def assert_published(model, published, name):
    named = {key: tuple(value.shape) for key, value in model.named_parameters()}
    assert named == shapes_of(published, name)
    # Tied parameters are counted once in both; what no computation reads is in neither.
    assert sum(parameters_by_part(model).values()) == published["parameters_full_size"][name]


@pytest.mark.parametrize(
    ("config", "name"),
    [
        pytest.param(*item, marks=[pytest.mark.slow] if item[0] != "x2vlm_base_4m" else [])
        for item in PRETRAINING.items()
    ],
)
def test_pre_training_models_have_the_published_parameters(config, name, root, published):
    assert_published(empty_model(load_config(root / "configs" / "pretrain" / f"{config}.py")), published, name)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["base", "large"])
@pytest.mark.parametrize("task", TASKS)
def test_fine_tuning_models_have_the_published_parameters(task, size, root, published):
    cfg = load_config(root / "configs" / "pretrain" / f"x2vlm_{size}_4m.py").to_dict()
    model = cfg["model"]
    objectives, image_size, changes = TASKS[task]
    model["objectives"] = objectives
    model["vision_encoder"]["image_size"] = image_size
    cfg["model"] = model | changes
    assert_published(empty_model(cfg), published, task.format(size))


def test_x_fm_has_the_published_parameters_but_for_those_nothing_reads(root, published):
    model = empty_model(load_config(root / "configs" / "pretrain" / "xfm_base_4m.py"))
    named = {key: tuple(value.shape) for key, value in model.named_parameters()}
    assert named == shapes_of(published, "XFM_base_4m_pretraining")


def test_the_command_prints_totals_and_parts(capsys, root):
    assert main(["parameters", str(root / "configs" / "pretrain" / "x2vlm_base_4m.py")]) == 0
    output = capsys.readouterr().out
    assert "x2vlm_base_4m.py: 254,758,401 (" in output
    assert "vision_encoder 85,761,984" in output
    assert "objectives.itm 1,187,330" in output


def test_the_command_lists_names(capsys, root):
    assert main(["parameters", "--names", str(root / "configs" / "demo" / "toy_pretrain.py")]) == 0
    assert "temperature a number\n" in capsys.readouterr().out


def test_a_text_encoder_of_unknown_size_is_reported():
    with pytest.raises(ConfigError, match=r"model\.text_encoder\.path: 'nowhere' is neither a folder nor one of"):
        empty_model(dict(model=dict(type="X2VLM", text_encoder=dict(type="HFTextEncoder", path="nowhere"))))


@pytest.mark.parametrize("command", ["parameters", "flops", "plan"])
def test_a_config_without_a_model_is_told(tmp_path, capsys, command):
    (tmp_path / "empty.py").write_text("")
    assert main([command, str(tmp_path / "empty.py")]) == 1
    assert "model: is missing: this config builds no model." in capsys.readouterr().err
