"""``torch.compile`` of the towers' blocks, one by one."""

import os
import shutil
from typing import Any

import torch
import torch.fx.experimental._config
from mmengine.hooks import Hook
from torch import nn

from x2vlm.engine.distributed.model_wrapper import unwrap_model
from x2vlm.models.layers.attention import chosen_backend
from x2vlm.models.layers.tower_layers import layers_of
from x2vlm.registry import HOOKS


@HOOKS.register_module()
class CompileBlocksHook(Hook):
    """Compile the blocks of the vision encoder and the layers of the text and fusion encoders when training begins.

    Nothing else is compiled, and attention inside a block stays with its backend. Shapes are dynamic unless
    ``dynamic=False``, and blocks of one class share their compiled code: a few graphs are compiled in the first step,
    and none for texts of other lengths. Parameters and checkpoints keep their names. The EMA model is not compiled.

    Args:
        **options: Of ``torch.nn.Module.compile``: ``mode``, ``dynamic``, ``backend``, ...
            ``mode="reduce-overhead"`` records CUDA graphs, one for every set of shapes: only where shapes repeat.
    """

    priority = "VERY_LOW"  # after the EMAHook has copied the model

    def __init__(self, **options: Any) -> None:
        self.options = options

    def before_train(self, runner: Any) -> None:
        """Mark the blocks for compilation, which happens at their first call."""
        compile_blocks(unwrap_model(runner.model), **self.options)


def compile_blocks(model: nn.Module, **options: Any) -> list[nn.Module]:
    """Compile the blocks of a model's towers in place; see :class:`CompileBlocksHook`.

    Returns:
        The blocks.

    Raises:
        ValueError: If the towers have no blocks, or a model on a CPU is to be compiled without a C++ compiler.
    """
    towers = model.towers
    blocks = [block for tower in towers.values() for block in layers_of(tower)]
    if not blocks:
        raise ValueError(f"nothing to compile: {', '.join(towers) or 'the model'} has no stack of layers of one class.")
    on_cpu = next(blocks[0].parameters()).device.type == "cpu"
    if on_cpu and options.get("backend", "inductor") == "inductor" and not _cpp_compiler():
        raise ValueError("compiling blocks for a CPU needs a C++ compiler. Install g++, or set CXX, or leave it out.")
    torch.compiler.assume_constant_result(chosen_backend)  # it probes attention backends: nothing to trace
    share_code(len(blocks))
    for block in blocks:
        # Layers of transformers that recompute their activations would draw other dropout when compiled.
        if not getattr(block, "gradient_checkpointing", False):
            block.compile(**{"dynamic": True, **options})
    return blocks


def share_code(blocks: int) -> None:
    """Configure torch.compile so that blocks of one class share one compiled code, whatever the shapes.

    Args:
        blocks: Number of blocks.
    """
    config, shapes = torch._dynamo.config, torch.fx.experimental._config
    # Dropout rates are the same in all blocks, so they may be constants. As symbols they would break the graph wherever
    # code branches on them.
    if hasattr(config, "specialize_float"):
        config.specialize_float = True
    # Sizes that are equal by chance in the first step (as many captions as regions) are not the same size.
    if hasattr(shapes, "use_duck_shape"):
        shapes.use_duck_shape = False
    # The rate of stochastic depth differs between blocks: each may need a compilation of its own.
    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # before torch 2.6
    setattr(config, limit, max(getattr(config, limit), 2 * blocks))


def _cpp_compiler() -> str | None:
    """The C++ compiler that torch would use."""
    return next(filter(None, map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))), None)
