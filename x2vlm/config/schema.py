"""The schema of a config: the registry of each part, and the constructor of each dict of settings, by config path."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mmengine.registry import Registry

from x2vlm import registry as families


@dataclass(frozen=True)
class PartSchema:
    """A part (``dict(type=...)``) at a path of a config.

    Attributes:
        families: Registries in which its type is looked up.
        derived: Arguments that the code fills in where they are not given.
        hidden: Arguments that only the code fills in.
        extra: Keys that are taken out before the constructor is called.
        optional: Whether None is accepted.
        default: The type of a dict that has none; empty where it must have one.
        elsewhere: The path is only a key's name, anywhere in the config: a value that is no dict may mean something
            else.
    """

    families: tuple[Registry, ...]
    derived: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    optional: bool = False
    default: str = ""
    elsewhere: bool = False

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.families[0].name


@dataclass(frozen=True)
class EnvCfg:
    """What MMEngine's runner reads from ``env_cfg``; no constructor takes these as arguments."""

    cudnn_benchmark: bool = False
    mp_cfg: dict[str, Any] | None = None
    dist_cfg: dict[str, Any] | None = None
    resource_limit: int = 4096


@dataclass(frozen=True)
class SettingsSchema:
    """A dict without a type whose keys are the arguments of one constructor.

    Attributes:
        target: The constructor, as ``"module:name"``; imported when it is needed.
        derived: Arguments that the code fills in where they are not given.
        hidden: Arguments that only the code fills in.
        extra: Keys that are taken out before.
        optional: Whether None is accepted.
    """

    target: str
    derived: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    optional: bool = True

    def constructor(self) -> Callable[..., Any]:
        """The class or function of ``target``."""
        module, _, name = self.target.partition(":")
        return getattr(import_module(module), name)


ALL_FAMILIES = tuple(value for value in vars(families).values() if isinstance(value, Registry))
ANY_PART = PartSchema(ALL_FAMILIES, optional=True, elsewhere=True)

OBJECTIVE_ARGUMENTS = ("width", "text_width", "context_width", "vocab_size", "word_width", "tokenizer", "attention")
_COLLATE = PartSchema((families.TRANSFORMS,), derived=("tokenizer", "batch_size"))
_LOOP = PartSchema((families.LOOPS,), hidden=("runner", "dataloader", "evaluator", "mode"), optional=True)
_SCHEDULER = PartSchema((families.PARAM_SCHEDULERS,), hidden=("optimizer",), extra=("convert_to_iter_based",))
_MASKING = SettingsSchema("x2vlm.data.collate.token_masking:Masking")

# "*" matches one key, "#" one index of a list; "**" at the start matches any path.
PART_SCHEMAS = {
    "model": PartSchema((families.MODELS,), derived=("data_preprocessor",), hidden=("tokenizer",)),
    "model.vision_encoder": PartSchema((families.VISION_ENCODERS,), derived=("attention",), optional=True),
    "model.text_encoder": PartSchema(
        (families.TEXT_ENCODERS,), derived=("attention", "vocab_size", "pad_token_id"), optional=True
    ),
    "model.fusion_encoder": PartSchema(
        (families.FUSION_ENCODERS,), derived=("width", "context_width", "attention"), optional=True
    ),
    "model.temporal_encoder": PartSchema((families.TEMPORAL_ENCODERS,), derived=("width",), optional=True),
    "model.objectives.*": PartSchema((families.OBJECTIVES,), derived=OBJECTIVE_ARGUMENTS),
    "tokenizer": PartSchema((families.TOKENIZERS,), optional=True),
    "streams.*.dataset": PartSchema((families.DATASETS,)),
    "streams.*.collate": _COLLATE,
    "evaluations.*.dataset": PartSchema((families.DATASETS,)),
    "raw_sets.*.dataset": PartSchema((families.DATASETS,)),
    "held_out_sets.*.dataset": PartSchema((families.DATASETS,)),
    "evaluations.*.collate": _COLLATE,
    "evaluations.*.metric": PartSchema((families.METRICS,), derived=("tokenizer", "work_dir")),
    "evaluations.*.metric.search": PartSchema(
        (families.SEARCHES,), optional=True, default="BeamSearch", elsewhere=True
    ),
    "evaluations.*.metric.index": PartSchema((families.INDEXES,), optional=True, elsewhere=True),
    "train_cfg": _LOOP,
    "val_cfg": _LOOP,
    "test_cfg": _LOOP,
    "optim_wrapper": PartSchema(
        (families.OPTIM_WRAPPERS,),
        derived=("optimizer",),
        extra=("constructor", "paramwise_cfg"),
        default="MixedOptimWrapper",
    ),
    "optim_wrapper.optimizer": PartSchema((families.OPTIMIZERS,), hidden=("params",)),
    "param_scheduler.#": _SCHEDULER,
    "default_hooks.*": PartSchema((families.HOOKS,), extra=("priority",), optional=True),
    "custom_hooks.#": PartSchema((families.HOOKS,), extra=("priority",)),
    "visualizer": PartSchema((families.VISUALIZERS,), optional=True),
    "visualizer.vis_backends.#": PartSchema((families.VISBACKENDS,), derived=("save_dir",)),
    "log_processor": PartSchema((families.LOG_PROCESSORS,), optional=True, default="LogProcessor"),
    "model_wrapper_cfg": PartSchema(
        (families.MODEL_WRAPPERS,), hidden=("module",), optional=True, default="MMDistributedDataParallel"
    ),
    "**.pipeline.#": PartSchema((families.TRANSFORMS,)),
    "**.transforms.#": PartSchema((families.TRANSFORMS,), elsewhere=True),
    "**.dataset": PartSchema((families.DATASETS,), elsewhere=True),
    "**.datasets.#": PartSchema((families.DATASETS,), elsewhere=True),
    "**.reader": PartSchema((families.VIDEO_READERS,), elsewhere=True),
}

OURS = frozenset(
    {
        *("tokenizer", "model", "loading", "data_root", "streams", "evaluations", "gallery", "bad_records"),
        *("keep_best", "require_pretrained", "raw_sets", "held_out_sets", "same_images"),
    }
)
# What MMEngine's runner reads, as far as ours lets it.
MMENGINE = frozenset(
    {
        "activation_checkpointing",
        "compile",
        "custom_hooks",
        "custom_imports",
        "default_hooks",
        "default_scope",
        "efficient_conv_bn_eval",
        "env_cfg",
        "experiment_name",
        "launcher",
        "load_from",
        "log_level",
        "log_processor",
        "model_wrapper_cfg",
        "optim_wrapper",
        "param_scheduler",
        "randomness",
        "resume",
        "sync_bn",
        "test_cfg",
        "train_cfg",
        "val_cfg",
        "visualizer",
        "work_dir",
    }
)
TOP_LEVEL = OURS | MMENGINE
PATHS = ("data_root", "load_from", "work_dir")  # of these, texts or None

SETTINGS_SCHEMAS = {
    "streams.*": SettingsSchema("x2vlm.data.streams:Stream", derived=("collate",), hidden=("name",), optional=False),
    "evaluations.*": SettingsSchema(
        "x2vlm.data.loader:EvaluationLoader",
        derived=("collate",),
        hidden=("name", "bad_record_log"),
        extra=("metric",),
        optional=False,
    ),
    "raw_sets.*": SettingsSchema("x2vlm.data.pretraining_set.raw_sets:RawSet", optional=False),
    "held_out_sets.*": SettingsSchema("x2vlm.data.pretraining_set.raw_sets:HeldOutSet", optional=False),
    "train_cfg.plan": SettingsSchema("x2vlm.engine.step_plan:StepPlan", hidden=("streams", "switched_off")),
    "train_cfg.bad_numbers": SettingsSchema("x2vlm.engine.failures.nan_policy:BadNumbers"),
    "loading": SettingsSchema("x2vlm.weights.load_weights:Loading"),
    "gallery": SettingsSchema("x2vlm.gallery.gallery_layout:GalleryStorage"),
    "bad_records": SettingsSchema("x2vlm.data.bad_record_log:BadRecordLog", hidden=("file",)),
    "streams.*.collate.masking": _MASKING,
    "evaluations.*.collate.masking": _MASKING,
    "**.dataset.subset": SettingsSchema("x2vlm.data.datasets.subset:Subset"),
    "model.objectives.*.decoder": SettingsSchema(
        "x2vlm.models.generation.answer_decoder:AnswerDecoder", derived=("width", "vocab_size", "attention")
    ),
    "randomness": SettingsSchema("mmengine.runner:set_random_seed"),
    "env_cfg": SettingsSchema("x2vlm.config.schema:EnvCfg"),
    "custom_imports": SettingsSchema("mmengine.utils:import_modules_from_strings"),
}


def part_schema_at(keys: tuple[str, ...]) -> PartSchema | None:
    """The schema of the part at a path, given as keys and indices; None where there is none."""
    if len(keys) == 1 and keys[0] == "param_scheduler":
        return _SCHEDULER
    return next((schema for pattern, schema in PART_SCHEMAS.items() if _fits(pattern, keys)), None)


def settings_schema_at(keys: tuple[str, ...]) -> SettingsSchema | None:
    """The schema of the settings at a path; None for parts, and where there is none."""
    return next((settings for pattern, settings in SETTINGS_SCHEMAS.items() if _fits(pattern, keys)), None)


def _fits(pattern: str, keys: tuple[str, ...]) -> bool:
    names = pattern.split(".")
    if names[0] == "**":
        names = names[1:]
        keys = keys[-len(names) :]
    return len(names) == len(keys) and all(map(_fits_one, names, keys))


def _fits_one(wanted: str, key: str) -> bool:
    return key.isdigit() if wanted == "#" else wanted in ("*", key)
