"""Fine-tuning starts from pre-training: every config takes all that fits, and lacks only what it names."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.test_configs_step import shrink
from tests.toy_records import name_of
from x2vlm.building import build
from x2vlm.commands.check_config import config_files
from x2vlm.config import load_config
from x2vlm.registry import MODELS, TOKENIZERS
from x2vlm.weights.load_weights import Loading, prepare

ROOT = Path(__file__).resolve().parents[1]
PRETRAINED = dict(
    x2vlm="x2vlm_base_4m", cclm_swin="cclm_swin_4m", cclm="cclm_base", xfm="xfm_base_4m", xvlm="xvlm_swin_4m"
)
STARTED = [path for path in config_files(ROOT) if path.parent.name in ("finetune", "zeroshot")]
STARTED = [path for path in STARTED if path.name.startswith(tuple(PRETRAINED))]
STARTED += [ROOT / "configs" / "pretrain" / f"{name}.py" for name in ("cclm_base", "x2vlm_base_1b_stage2")]

# Configs that begin from a fine-tuned model, or ask one about other data.
TUNED = {
    "xvlm_swin_vlue_retrieval": "xvlm_swin_retrieval_coco",
    **{f"xvlm_swin_vlue_{task}": f"xvlm_swin_{task}" for task in ("captioning_coco", "nlvr2", "refcoco_plus", "vqa")},
}


def source_of(path: Path, skip) -> Path:
    """The config that the weights come from with which a config begins."""
    configs = ROOT / "configs"
    if path.parent.name == "pretrain" or "text_encoder" in skip:
        return configs / "pretrain" / "x2vlm_base_4m.py"
    tuned = TUNED.get(path.stem, path.stem.removesuffix("_fewshot").removesuffix("_translate_test"))
    if tuned != path.stem:
        return configs / "finetune" / f"{tuned}.py"
    family = next(source for name, source in PRETRAINED.items() if path.stem.startswith(f"{name}_"))
    return configs / "pretrain" / f"{family}.py"


def toy_model(cfg):
    with TemporaryDirectory() as folder:
        return toy_model_in(cfg, Path(folder))


def toy_model_in(cfg, folder):
    cfg = shrink(cfg, folder)
    if cfg.model.get("vision_encoder") and name_of(cfg.model.vision_encoder) != "Swin":
        cfg.model.vision_encoder.patch_size = 32  # weights of patches fit where patches have one size
    tokenizer = build(TOKENIZERS, dict(type="ToyTokenizer"))
    return build(MODELS, cfg.model, "model", tokenizer=tokenizer)


@cache
def weights_of(path: Path):
    """The weights of the config that many others begin with, built once for all of them."""
    return toy_model(load_config(path)).state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("path", STARTED, ids=lambda path: path.stem)
def test_a_config_starts_from_its_pre_training(path):
    cfg = load_config(path)
    loading = Loading(**(cfg.get("loading") or {}))
    given = weights_of(source_of(path, loading.skip))
    model = toy_model(cfg)
    report = prepare(model, given, loading, complete="streams" not in cfg).report
    exceptions = {name.partition(".")[0] for name in (*loading.allow_missing, *loading.skip)}
    assert {name.partition(".")[0] for name in report.missing} <= exceptions
    assert all(any(name.startswith(tower) for name in report.loaded) or tower in exceptions for tower in model.towers)
    for pattern in loading.allow_missing:
        assert any(name.startswith(pattern) for name in report.missing), f"{pattern} is not missing at all"
