"""All registries: the extension points of the library.

A family of parts is a registry. The families of this library stand on their own; those that MMEngine's runner looks up
are children of MMEngine's registries, so that everything registered there is found too. ``locations`` name the modules
that are imported at the first build, not before: importing this file stays cheap.
"""

from mmengine import registry as mm
from mmengine.registry import Registry

from x2vlm.part_registry import Family

_SCOPE = "x2vlm"


def _own(name: str, *locations: str) -> Registry:
    return Family(name, scope=_SCOPE, locations=list(locations))


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return Family(name, parent=parent, scope=_SCOPE, locations=list(locations))


# Extension points for research.
VISION_ENCODERS = _own("vision encoder", "x2vlm.models.vision")
TEXT_ENCODERS = _own("text encoder", "x2vlm.models.text")
FUSION_ENCODERS = _own("fusion encoder", "x2vlm.models.fusion.encoder")
ATTENTION_BACKENDS = _own("attention backend", "x2vlm.models.layers.attention")
TEMPORAL_ENCODERS = _own("temporal encoder", "x2vlm.models.temporal")
OBJECTIVES = _own("objective", "x2vlm.objectives")
TOKENIZERS = _own("tokenizer", "x2vlm.data.tokenizer")
VIDEO_READERS = _own("video reader", "x2vlm.data.io.video.decord_reader", "x2vlm.data.io.video.sandboxed_video")
DATASETS = _child("dataset adapter", mm.DATASETS, "x2vlm.data")
TRANSFORMS = _child("transform", mm.TRANSFORMS, "x2vlm.data")
METRICS = _child("metric", mm.METRICS, "x2vlm.evaluation")
SCORERS = _own("scorer", "x2vlm.evaluation.scorers")
INDEXES = _own("index", "x2vlm.gallery.nearest_neighbours", "x2vlm.gallery.faiss_index")
SEARCHES = _own("caption search", "x2vlm.models.generation.beam_search", "x2vlm.models.generation.sampling")

# What MMEngine's runner builds. All are declared: a missing child makes MMEngine warn at every build.
MODELS = _child("model", mm.MODELS, "x2vlm.models")
MODEL_WRAPPERS = _child("model wrapper", mm.MODEL_WRAPPERS, "x2vlm.engine")
WEIGHT_INITIALIZERS = _child("weight initializer", mm.WEIGHT_INITIALIZERS, "x2vlm.models")
LOOPS = _child("loop", mm.LOOPS, "x2vlm.engine")
HOOKS = _child("hook", mm.HOOKS, "x2vlm.engine")
OPTIMIZERS = _child("optimizer", mm.OPTIMIZERS, "x2vlm.engine")
OPTIM_WRAPPERS = _child("optimizer wrapper", mm.OPTIM_WRAPPERS, "x2vlm.engine")
OPTIM_WRAPPER_CONSTRUCTORS = _child("optimizer constructor", mm.OPTIM_WRAPPER_CONSTRUCTORS, "x2vlm.engine")
PARAM_SCHEDULERS = _child("parameter scheduler", mm.PARAM_SCHEDULERS, "x2vlm.engine")
DATA_SAMPLERS = _child("data sampler", mm.DATA_SAMPLERS, "x2vlm.data")
STRATEGIES = _child("strategy", mm.STRATEGIES, "x2vlm.engine")
RUNNERS = _child("runner", mm.RUNNERS, "x2vlm.engine")
RUNNER_CONSTRUCTORS = _child("runner constructor", mm.RUNNER_CONSTRUCTORS, "x2vlm.engine")
LOG_PROCESSORS = _child("log processor", mm.LOG_PROCESSORS, "x2vlm.engine")
EVALUATOR = _child("evaluator", mm.EVALUATOR, "x2vlm.evaluation")
VISUALIZERS = _child("visualizer", mm.VISUALIZERS, "x2vlm.engine")
VISBACKENDS = _child("visualizer backend", mm.VISBACKENDS, "x2vlm.engine")
INFERENCERS = _child("inferencer", mm.INFERENCERS, "x2vlm.inference")
TASK_UTILS = _child("task util", mm.TASK_UTILS, "x2vlm.engine")
FUNCTIONS = _child("function", mm.FUNCTIONS, "x2vlm.engine")
