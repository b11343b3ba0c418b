"""The blocks of the towers through torch.compile, one by one."""

import os
import shutil
from typing import Any

import torch
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
    ``dynamic=False`` says otherwise, so that nothing is compiled again for texts of other lengths. Parameters and
    checkpoints keep their names. Averages of the weights and what is evaluated from them run as they are.

    Args:
        **options: As ``torch.nn.Module.compile`` takes them: ``mode``, ``dynamic``, ``backend``, ...
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
    # Blocks of one class share their code but not their stochastic depth: each may need a compilation of its own.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 2 * len(blocks))
    for block in blocks:
        # Layers of transformers that recompute their activations would draw other dropout when compiled.
        if not getattr(block, "gradient_checkpointing", False):
            block.compile(**{"dynamic": True, **options})
    return blocks


def _cpp_compiler() -> str | None:
    """One of those that torch looks for."""
    return next(filter(None, map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))), None)
