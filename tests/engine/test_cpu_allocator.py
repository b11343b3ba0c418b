import subprocess
import sys

import pytest

CODE = """
import resource, sys, torch
from x2vlm.engine.cpu_allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def use(times):
    for _ in range(times):
        (torch.ones(10_000_000) + 1).sum()  # 40 MB, twice
use(10)  # until the pieces have their places
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use(3)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


GIVEN_BACK = """
import torch
from x2vlm.engine.cpu_allocator import give_back_freed_memory, keep_freed_memory
def resident():
    return 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS:"))
keep_freed_memory()
(torch.ones(50_000_000) + 1).sum()
kept = resident()
give_back_freed_memory()
print(kept - resident())
"""


def page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has mallopt")
def test_memory_that_was_freed_is_not_taken_from_the_system_again():
    assert page_faults("kept") < page_faults("given back") / 10


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has malloc_trim")
def test_what_is_kept_can_be_given_back():
    done = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 300e6  # of 400 MB
