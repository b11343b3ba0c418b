"""The blocks of the towers through torch.compile, one by one."""

import os
import shutil
from typing import Any

import torch
import torch.fx.experimental._config
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import nn

from x2vlm.models.layers.attention import chosen
from x2vlm.models.layers.blocks import layers_of
from x2vlm.registry import HOOKS


@HOOKS.register_module()
class CompileBlocksHook(Hook):
    """Compile the blocks of the vision encoder and the layers of the text and fusion encoders when training begins.

    Nothing else is compiled, and attention inside a block is left to its backend. Sizes are dynamic unless
    ``dynamic=False`` says otherwise, and blocks of one class share their code: a few graphs are compiled in the first
    step, and none for texts of other lengths. Parameters and checkpoints keep their names. Averages of the weights and
    what is evaluated from them run as they are.

    Args:
        **options: As ``torch.nn.Module.compile`` takes them: ``mode``, ``dynamic``, ``backend``, ...
            ``mode="reduce-overhead"`` records CUDA graphs, one for every set of shapes: only where shapes repeat.
    """

    priority = "VERY_LOW"  # after the average of the weights has made its copy

    def __init__(self, **options: Any) -> None:
        self.options = options

    def before_train(self, runner: Any) -> None:
        """Compile; the work itself is done when a block is first called."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        compile_blocks(model, **self.options)


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
        raise ValueError(f"nothing to compile: {', '.join(towers) or 'the model'} has no rows of layers of one class.")
    on_cpu = next(blocks[0].parameters()).device.type == "cpu"
    if on_cpu and options.get("backend", "inductor") == "inductor" and not _cpp_compiler():
        raise ValueError("compiling blocks for a CPU needs a C++ compiler. Install g++, or set CXX, or leave it out.")
    torch.compiler.assume_constant_result(chosen)  # it finds out what runs here by running it: nothing to trace
    share_code(len(blocks))
    for block in blocks:
        # Layers of transformers that recompute their activations would draw other dropout when compiled.
        if not getattr(block, "gradient_checkpointing", False):
            block.compile(**{"dynamic": True, **options})
    return blocks


def share_code(blocks: int) -> None:
    """Set torch.compile so that blocks of one class share one compiled code, whatever the sizes.

    Args:
        blocks: How many there are.
    """
    config, shapes = torch._dynamo.config, torch.fx.experimental._config
    # Rates of dropout are the same in all blocks, so they may be part of the code. As symbols they would break it in
    # pieces wherever it is asked whether there is dropout.
    if hasattr(config, "specialize_float"):
        config.specialize_float = True
    # Sizes that are equal by chance in the first step (as many captions as regions) are not the same size.
    if hasattr(shapes, "use_duck_shape"):
        shapes.use_duck_shape = False
    # Stochastic depth is not the same in all blocks: each may need a compilation of its own.
    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # before torch 2.6
    setattr(config, limit, max(getattr(config, limit), 2 * blocks))


def _cpp_compiler() -> str | None:
    """One of those that torch looks for."""
    return next(filter(None, map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))), None)
