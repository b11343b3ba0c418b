"""All streams and objectives of the demos in one small config, for runs of one and of several processes."""

import copy
from pathlib import Path

from mmengine.config import Config

from tests.engine.tiny_parts import sgd_config
from x2vlm.config import load_config

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "demo"
SHARDED = dict(type="FullySharded")
EMA = dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=0.1)


def everything(work_dir, max_iters: int = 4, evaluate: bool = False, **changes):
    """Images, regions, videos, texts, parallel texts, questions and captions; ``changes`` replace top-level keys."""
    cfg = load_config(CONFIGS / "toy_five_streams.py")
    answers, captions = load_config(CONFIGS / "toy_answers.py"), load_config(CONFIGS / "toy_captions.py")
    cfg.tokenizer = answers.tokenizer
    cfg.streams.question, cfg.streams.caption = answers.streams.question, captions.streams.caption
    cfg.model.objectives.answer = answers.model.objectives.answer
    cfg.model.objectives.caption = captions.model.objectives.caption
    for stream in cfg.streams.values():
        stream.batch_size, stream.num_workers = 4, 0
        if stream.get("max_images"):
            stream.max_images = 2
    cfg.model.vision_encoder.options.update(depth=2, embed_dim=48)
    cfg.model.text_encoder.config.update(hidden_size=48, intermediate_size=96)
    cfg.work_dir, cfg.visualizer, cfg.log_level = str(work_dir), None, "WARNING"
    cfg.load_from = None
    cfg.train_cfg = dict(type="MixedTrainLoop", max_iters=max_iters)
    cfg.default_hooks.checkpoint = dict(type="CheckpointHook", interval=max(max_iters // 4, 2), max_keep_ckpts=2)
    cfg.default_hooks.logger.interval = 1
    cfg.optim_wrapper.clip_grad = dict(max_norm=1.0)
    cfg.optim_wrapper.optimizer = dict(type="PublishedAdamW", lr=1e-3)
    cfg.custom_hooks = [EMA]
    cfg.evaluations = cfg.evaluations if evaluate else {}
    if evaluate:
        cfg.evaluations.answers, cfg.evaluations.captions = answers.evaluations.answers, captions.evaluations.captions
        for evaluation in cfg.evaluations.values():
            records = evaluation.dataset.get("world", evaluation.dataset)
            records.num_scenes, evaluation.batch_size = 7, 2  # one batch more in the first process than in the second
        cfg.evaluations.image_retrieval.metric.k = 3
        cfg.evaluations.captions.metric.search = dict(beams=2, min_length=1, max_length=3)
    for key, value in changes.items():
        cfg[key] = value
    return cfg


def tiny_sharded(work_dir, max_iters, factor=1, **changes):
    """A run of numbers that do not depend on how many processes share the batch; ``factor`` 2 for one process."""
    best = {key: changes.pop(key) for key in ("save_best", "rule") if key in changes}
    cfg = sgd_config(work_dir, max_iters, factor=factor, optimizer=dict(type="PublishedAdamW", lr=0.01)) | changes
    cfg["train_cfg"]["val_interval"] = 3
    cfg["default_hooks"]["checkpoint"] = dict(type="CheckpointHook", interval=3, max_keep_ckpts=2, **best)
    cfg["custom_hooks"] = [EMA]
    return Config(cfg)


def reordered(cfg: Config) -> Config:
    """The same run, its objectives, streams and top-level keys the other way round."""
    cfg = copy.deepcopy(cfg)
    cfg.model.objectives = dict(reversed(list(cfg.model.objectives.items())))
    cfg.streams = dict(reversed(list(cfg.streams.items())))
    for stream in cfg.streams.values():
        if stream.get("objectives"):
            stream.objectives = (
                dict(reversed(list(stream.objectives.items())))
                if isinstance(stream.objectives, dict)
                else list(reversed(stream.objectives))
            )
    return cfg


def by_name(content: dict) -> dict[str, dict]:
    """The states of a checkpoint's optimizer by the names of parameters."""
    optimizer = content["optimizer"]
    return {
        name: optimizer["state"][number]
        for group in optimizer["param_groups"]
        for name, number in zip(group["param_names"], group["params"], strict=True)
        if number in optimizer["state"]
    }
