"""Training engine: runner, loops and steps, optimizer, checkpoints, distributed training, hooks, failures."""

from x2vlm.engine.checkpoint.atomic_save import SaveError
from x2vlm.engine.checkpoint.checkpoint_hook import CheckpointHook, EpochCheckpointHook
from x2vlm.engine.checkpoint.loop_state import TrainStateHook
from x2vlm.engine.checkpoint.resume import latest_checkpoint
from x2vlm.engine.distributed.fsdp import FullySharded
from x2vlm.engine.eval_loop import EvaluationLoop
from x2vlm.engine.failures.nan_policy import BadNumbers
from x2vlm.engine.failures.step_dump import replay
from x2vlm.engine.hooks.compile_blocks import CompileBlocksHook
from x2vlm.engine.hooks.ema_hook import EMAHook
from x2vlm.engine.hooks.experiment_trackers import MLflowVisBackend, WandbVisBackend
from x2vlm.engine.hooks.finish_time import FinishTimeHook
from x2vlm.engine.hooks.logging_hooks import MeanScalarsHook, ThroughputHook
from x2vlm.engine.hooks.progress_bar import ProgressHook
from x2vlm.engine.hooks.stop_hook import StopHook
from x2vlm.engine.optim.optim_wrapper import MixedOptimWrapper
from x2vlm.engine.optim.param_groups import X2VLMOptimConstructor
from x2vlm.engine.optim.published_adamw import PublishedAdamW
from x2vlm.engine.optim.schedules import WarmupLinear
from x2vlm.engine.runner import MixedRunner
from x2vlm.engine.runner_builder import build_runner
from x2vlm.engine.train_loop import MixedTrainLoop
