import json
import subprocess
import sys

import pytest

CODE = """
import json, resource, torch
from x2vlm.engine.allocator import give_back_freed_memory, keep_freed_memory
def use(times):
    for _ in range(times):
        (torch.ones(16_000_000) + 1).sum()  # 64 MB, twice: more than glibc keeps by itself
def page_faults():
    use(3)  # until the pieces have their places
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    use(2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def resident():
    return 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS:"))
found = {"usually": page_faults()}
assert keep_freed_memory()
found["kept"] = page_faults()
held = resident()
give_back_freed_memory()
found["given back"] = held - resident()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, int]:
    """Page faults of a process of its own before and after it keeps freed memory, and bytes that it then gives back."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only glibc has mallopt and malloc_trim")
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_memory_that_was_freed_is_not_taken_from_the_system_again(found):
    assert found["kept"] < found["usually"] / 10


def test_what_is_kept_can_be_given_back(found):
    assert found["given back"] > 96e6  # of 128 MB
