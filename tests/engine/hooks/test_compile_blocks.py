"""Blocks through torch.compile: the same numbers, the same names."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.models.conftest import image_batch, tiny_model
from x2vlm.engine.hooks.compile_blocks import CompileBlocksHook, compile_blocks

OBJECTIVES = ("itc", "itm", "mlm")
VISION = dict(type="BEiT2", image_size=16, patch_size=8, width=16, depth=4, num_heads=2, attention="sdpa")
FUSION = dict(type="CrossAttentionFusion", depth=3, num_heads=2)


@pytest.fixture(autouse=True)
def settings_of_torch_as_they_were():
    """Compiling blocks changes how torch compiles in this process."""
    torch._dynamo.reset()
    names = ("specialize_float", "recompile_limit")
    with (
        torch._dynamo.config.patch({name: getattr(torch._dynamo.config, name) for name in names}),
        torch.fx.experimental._config.patch(use_duck_shape=torch.fx.experimental._config.use_duck_shape),
    ):
        yield
    torch._dynamo.reset()


def step(model):
    """Losses and gradients of a training step."""
    torch.manual_seed(0)
    losses = model.train()(image_batch(), objectives=OBJECTIVES)
    sum(losses.values()).backward()
    return losses, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def close(model, other, tolerance):
    (losses, grads), (compiled_losses, compiled_grads) = step(model), step(other)
    assert grads.keys() == compiled_grads.keys()
    for name, loss in losses.items():
        torch.testing.assert_close(compiled_losses[name], loss, atol=tolerance, rtol=tolerance)
    for name, grad in grads.items():
        torch.testing.assert_close(compiled_grads[name], grad, atol=tolerance, rtol=tolerance, msg=name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_traced_blocks_give_the_same_losses_and_gradients(checkpointing):
    torch._dynamo.reset()
    plain, traced = (tiny_model(activation_checkpointing=checkpointing) for _ in range(2))
    compile_blocks(traced, backend="eager")
    close(plain, traced, 1e-6)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(shutil.which("g++") is None, reason="requires a C++ compiler")
def test_compiled_blocks_give_the_same_losses_and_gradients():
    torch._dynamo.reset()
    # Without stochastic depth, for which compiled blocks draw other numbers; one tower, since compiling takes long.
    vision = dict(type="BEiT2", image_size=16, patch_size=8, width=16, depth=2, num_heads=2, drop_path=0.0)
    plain, compiled = (tiny_model(vision_encoder=vision) for _ in range(2))
    compile_blocks(SimpleNamespace(towers={"vision_encoder": compiled.vision_encoder}))
    close(plain, compiled, 1e-5)


def test_the_hook_compiles_the_layers_of_the_three_towers_and_renames_nothing():
    model = tiny_model()
    names = list(model.state_dict())
    CompileBlocksHook(backend="eager").before_train(SimpleNamespace(model=model))
    compiled = [name for name, module in model.named_modules() if module._compiled_call_impl is not None]
    assert compiled == [
        "vision_encoder.net.blocks.0",
        "vision_encoder.net.blocks.1",
        "text_encoder.net.encoder.layer.0",
        "fusion_encoder.layer.0",
        "fusion_encoder.layer.1",
    ]
    assert list(model.state_dict()) == names


def test_every_block_may_be_compiled_however_many_there_are():
    blocks = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2)) for _ in range(20)))
    with torch._dynamo.config.patch(recompile_limit=8):
        compile_blocks(SimpleNamespace(towers={"vision_encoder": nn.ModuleList([blocks])}), backend="eager")
        assert torch._dynamo.config.recompile_limit == 40


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("depth", [2, 5])
def test_blocks_of_a_class_share_one_code_whatever_the_shapes(depth):
    """One graph each for vision and text; of fusion one for the last layer, which keeps fewer tokens, and one more."""
    counters = torch._dynamo.utils.counters
    counters.clear()
    model = tiny_model(vision_encoder=VISION | dict(depth=depth, drop_path=0.0), fusion_encoder=FUSION | dict(depth=3))
    compile_blocks(model.train(), backend="eager")
    graphs = []
    for count in (4, 6, 3, 7):
        sum(model(image_batch(count, seed=count), objectives=OBJECTIVES).values()).backward()
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs == [4, 4, 4, 4]
    assert not counters["graph_break"]


def test_towers_without_rows_of_layers_are_named():
    with pytest.raises(ValueError, match="nothing to compile: vision_encoder has no stack of layers"):
        compile_blocks(SimpleNamespace(towers={"vision_encoder": nn.Linear(2, 2)}))


def test_without_a_compiler_a_sentence_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler.* Install g\+\+, or set CXX"):
        compile_blocks(tiny_model())
    compile_blocks(tiny_model(), backend="eager")
