"""A recipe without its weights: what the user reads."""

import pytest

from x2vlm.building import ConfigError
from x2vlm.engine.checkpoint.required_weights import check_required, is_there

BEIT = "beitv2_base_patch16_224_pt1k_ft21k.pth of the BEiT-2 release"


def recipe(**changes):
    return (
        dict(
            model=dict(vision_encoder=dict(type="BEiT2"), text_encoder=dict(type="HFTextEncoder", config={})),
            require_pretrained=dict(vision_encoder=BEIT, text_encoder="bert-base-uncased of the BERT release"),
        )
        | changes
    )


def test_every_part_without_weights_is_named_with_its_file_and_how_to_give_it():
    with pytest.raises(ConfigError) as error:
        check_required(recipe())
    told = str(error.value)
    assert f"model.vision_encoder: needs {BEIT}. Give it by --cfg-options model.vision_encoder.checkpoint=FILE." in told
    assert "model.text_encoder: needs bert-base-uncased of the BERT release." in told
    assert "To begin from nothing on purpose: --cfg-options require_pretrained=None" in told


def test_a_file_that_is_named_and_not_there_is_told(tmp_path):
    cfg = recipe(require_pretrained=dict(vision_encoder=BEIT))
    cfg["model"]["vision_encoder"]["checkpoint"] = str(tmp_path / "beit.pth")
    with pytest.raises(ConfigError, match=r"model\.vision_encoder\.checkpoint: .*beit\.pth' is not there"):
        check_required(cfg)
    with pytest.raises(ConfigError, match=r"require_pretrained=None model\.vision_encoder\.checkpoint=None$"):
        check_required(cfg)
    (tmp_path / "beit.pth").write_bytes(b"weights")
    check_required(cfg)


@pytest.mark.parametrize("change", [dict(require_pretrained=False), dict(load_from="x.pth"), dict(resume=True)])
def test_a_run_that_needs_no_weights_of_others_begins(change):
    check_required(recipe(**change))


def test_a_folder_counts_when_it_holds_weights(tmp_path):
    assert not is_there(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert is_there(str(tmp_path))
    assert not is_there("no-such-name-in-the-cache")
