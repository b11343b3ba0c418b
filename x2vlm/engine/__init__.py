"""Steps, optimizer, schedules, checkpoints, processes."""

from x2vlm.engine.checkpoint.checkpoint_hook import CheckpointHook
from x2vlm.engine.checkpoint.integrity import SaveError
from x2vlm.engine.checkpoint.train_state import TrainStateHook, latest_checkpoint
from x2vlm.engine.distributed.fsdp import EMAHook, FullySharded
from x2vlm.engine.failures.bad_numbers import BadNumbers, replay
from x2vlm.engine.hooks.compile_blocks import CompileBlocksHook
from x2vlm.engine.hooks.logging_hooks import (
    EpochCheckpointHook,
    MeanScalarsHook,
    ProgressHook,
    StopHook,
    ThroughputHook,
)
from x2vlm.engine.optim.optim_wrapper import MixedOptimWrapper, PublishedAdamW
from x2vlm.engine.optim.param_groups import X2VLMOptimConstructor
from x2vlm.engine.optim.schedules import WarmupLinear
from x2vlm.engine.runner import MixedRunner, build_runner
from x2vlm.engine.train_loop import EvaluationLoop, MixedTrainLoop
