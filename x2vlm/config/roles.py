"""What may stand where in a config: the family of each part, and the keys where no constructor says them."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mmengine.registry import Registry

from x2vlm import registry as families


@dataclass(frozen=True)
class Role:
    """What stands at a place of a config.

    Attributes:
        families: Where its type is looked up.
        derived: Arguments that the code fills in where they are not given.
        hidden: Arguments that only the code fills in.
        extra: Keys that are taken out before the constructor is called.
        optional: Whether None may stand there.
        default: The type of a dict that has none; empty where it must have one.
        elsewhere: The place is only a key's name, anywhere: what is no dict there may be something else altogether.
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
        """What to call it in a message."""
        return self.families[0].name


@dataclass(frozen=True)
class EnvCfg:
    """What MMEngine's runner reads from ``env_cfg``; nothing there has these as arguments."""

    cudnn_benchmark: bool = False
    mp_cfg: dict[str, Any] | None = None
    dist_cfg: dict[str, Any] | None = None
    resource_limit: int = 4096


@dataclass(frozen=True)
class Settings:
    """A dict without a type whose keys are the arguments of one constructor.

    Attributes:
        target: Whose arguments they are, as ``"module:name"``; imported when it is asked for.
        derived: Arguments that the code fills in where they are not given.
        hidden: Arguments that only the code fills in.
        extra: Keys that are taken out before.
        optional: Whether None may stand there.
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
ANY = Role(ALL_FAMILIES, optional=True, elsewhere=True)

OBJECTIVE_ARGUMENTS = ("width", "text_width", "context_width", "vocab_size", "tokenizer", "attention")
_COLLATE = Role((families.TRANSFORMS,), derived=("tokenizer", "batch_size"))
_LOOP = Role((families.LOOPS,), hidden=("runner", "dataloader", "evaluator", "mode"), optional=True)
_SCHEDULER = Role((families.PARAM_SCHEDULERS,), hidden=("optimizer",), extra=("convert_to_iter_based",))
_MASKING = Settings("x2vlm.data.collate.token_masking:Masking")

# "*" is any one key, "#" any one index of a list; "**" at the start is any place.
ROLES = {
    "model": Role((families.MODELS,), derived=("data_preprocessor",), hidden=("tokenizer",)),
    "model.vision_encoder": Role((families.VISION_ENCODERS,), derived=("attention",), optional=True),
    "model.text_encoder": Role(
        (families.TEXT_ENCODERS,), derived=("attention", "vocab_size", "pad_token_id"), optional=True
    ),
    "model.fusion_encoder": Role(
        (families.FUSION_ENCODERS,), derived=("width", "context_width", "attention"), optional=True
    ),
    "model.objectives.*": Role((families.OBJECTIVES,), derived=OBJECTIVE_ARGUMENTS),
    "tokenizer": Role((families.TOKENIZERS,), optional=True),
    "streams.*.dataset": Role((families.DATASETS,)),
    "streams.*.collate": _COLLATE,
    "evaluations.*.dataset": Role((families.DATASETS,)),
    "evaluations.*.collate": _COLLATE,
    "evaluations.*.metric": Role((families.METRICS,), derived=("tokenizer", "work_dir")),
    "evaluations.*.metric.search": Role((families.SEARCHES,), optional=True, default="BeamSearch", elsewhere=True),
    "evaluations.*.metric.index": Role((families.INDEXES,), optional=True, elsewhere=True),
    "train_cfg": _LOOP,
    "val_cfg": _LOOP,
    "test_cfg": _LOOP,
    "optim_wrapper": Role(
        (families.OPTIM_WRAPPERS,),
        derived=("optimizer",),
        extra=("constructor", "paramwise_cfg"),
        default="MixedOptimWrapper",
    ),
    "optim_wrapper.optimizer": Role((families.OPTIMIZERS,), hidden=("params",)),
    "param_scheduler.#": _SCHEDULER,
    "default_hooks.*": Role((families.HOOKS,), optional=True),
    "custom_hooks.#": Role((families.HOOKS,)),
    "visualizer": Role((families.VISUALIZERS,), optional=True),
    "visualizer.vis_backends.#": Role((families.VISBACKENDS,), derived=("save_dir",)),
    "log_processor": Role((families.LOG_PROCESSORS,), optional=True, default="LogProcessor"),
    "model_wrapper_cfg": Role(
        (families.MODEL_WRAPPERS,), hidden=("module",), optional=True, default="MMDistributedDataParallel"
    ),
    "**.pipeline.#": Role((families.TRANSFORMS,)),
    "**.transforms.#": Role((families.TRANSFORMS,), elsewhere=True),
    "**.dataset": Role((families.DATASETS,), elsewhere=True),
    "**.datasets.#": Role((families.DATASETS,), elsewhere=True),
    "**.reader": Role((families.VIDEO_READERS,), elsewhere=True),
}

OURS = frozenset({"tokenizer", "model", "loading", "data_root", "streams", "evaluations", "gallery", "bad_records"})
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

SETTINGS = {
    "streams.*": Settings("x2vlm.data.streams:Stream", derived=("collate",), hidden=("name",), optional=False),
    "evaluations.*": Settings(
        "x2vlm.data.loader:EvaluationLoader",
        derived=("collate",),
        hidden=("name", "bad_record_log"),
        extra=("metric",),
        optional=False,
    ),
    "train_cfg.plan": Settings("x2vlm.engine.step_plan:StepPlan", hidden=("streams", "absent")),
    "train_cfg.bad_numbers": Settings("x2vlm.engine.failures.bad_numbers:BadNumbers"),
    "loading": Settings("x2vlm.weights.load_weights:Loading"),
    "gallery": Settings("x2vlm.gallery.encode_gallery:Storing"),
    "bad_records": Settings("x2vlm.data.bad_records:BadRecordLog", hidden=("file",)),
    "streams.*.collate.masking": _MASKING,
    "evaluations.*.collate.masking": _MASKING,
    "**.dataset.subset": Settings("x2vlm.data.datasets.subset:Subset"),
    "model.objectives.*.decoder": Settings(
        "x2vlm.models.generation.answer_decoder:AnswerDecoder", derived=("width", "vocab_size", "attention")
    ),
    "randomness": Settings("mmengine.runner:set_random_seed"),
    "env_cfg": Settings("x2vlm.config.roles:EnvCfg"),
    "custom_imports": Settings("mmengine.utils:import_modules_from_strings"),
}


def role_at(keys: tuple[str, ...]) -> Role | None:
    """What stands at a place, given as its keys and indices; None where a config does not say."""
    if len(keys) == 1 and keys[0] == "param_scheduler":
        return _SCHEDULER
    return next((role for pattern, role in ROLES.items() if _fits(pattern, keys)), None)


def settings_at(keys: tuple[str, ...]) -> Settings | None:
    """Whose arguments the keys of the dict at a place are; None where its type says so, or nobody does."""
    return next((settings for pattern, settings in SETTINGS.items() if _fits(pattern, keys)), None)


def _fits(pattern: str, keys: tuple[str, ...]) -> bool:
    wanted = pattern.split(".")
    if wanted[0] == "**":
        wanted = wanted[1:]
        keys = keys[-len(wanted) :]
    return len(wanted) == len(keys) and all(map(_fits_one, wanted, keys))


def _fits_one(wanted: str, key: str) -> bool:
    return key.isdigit() if wanted == "#" else wanted in ("*", key)
