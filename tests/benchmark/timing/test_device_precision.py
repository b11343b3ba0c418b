import pytest
import torch

from x2vlm.benchmark.timing.device_precision import check_device, computing_in, dtype_of, matmul_precision
from x2vlm.building import ConfigError


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_a_precision_of_gpus_is_refused_on_a_cpu_in_a_sentence(precision):
    with pytest.raises(ConfigError, match=rf"--precision {precision} is measured on a GPU only. .*fp32 or bf16"):
        check_device("cpu", precision)


def test_cuda_without_a_device_is_refused_in_a_sentence():
    with pytest.raises(ConfigError, match=r"--device cuda: torch .* has no CUDA device\. Use --device cpu"):
        check_device("cuda", "fp32", has_cuda=False)


@pytest.mark.parametrize(
    ("device", "precision"), [("cpu", "bf16"), ("cpu", "fp32"), ("cuda", "tf32"), ("cuda", "fp16")]
)
def test_what_a_device_can_do_is_let_through(device, precision):
    check_device(device, precision, has_cuda=True)


@pytest.mark.parametrize(("precision", "during"), [("tf32", "high"), ("fp32", "highest"), ("bf16", "highest")])
def test_matmul_precision_is_set_and_the_former_setting_comes_back(precision, during):
    with matmul_precision("tf32"):
        with pytest.raises(KeyError), computing_in(precision, "cpu"):
            assert torch.get_float32_matmul_precision() == during
            raise KeyError
        assert torch.get_float32_matmul_precision() == "high"


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_products_have_the_type_of_the_precision(precision, dtype):
    assert dtype_of(precision) == dtype
    with computing_in(precision, "cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
