"""Steps, optimizer, schedules, checkpoints, processes."""

from x2vlm.engine.bad_numbers import BadNumbers, replay
from x2vlm.engine.checkpoint import TrainStateHook, latest_checkpoint
from x2vlm.engine.compiling import CompileBlocksHook
from x2vlm.engine.hooks import EpochCheckpointHook, MeanScalarsHook, ProgressHook, StopHook, ThroughputHook
from x2vlm.engine.integrity import SaveError
from x2vlm.engine.keeping import CheckpointHook
from x2vlm.engine.loops import EvaluationLoop, MixedTrainLoop
from x2vlm.engine.optim import MixedOptimWrapper, PublishedAdamW
from x2vlm.engine.param_groups import X2VLMOptimConstructor
from x2vlm.engine.runner import MixedRunner, build_runner
from x2vlm.engine.schedules import WarmupLinear
from x2vlm.engine.sharding import EMAHook, FullySharded
