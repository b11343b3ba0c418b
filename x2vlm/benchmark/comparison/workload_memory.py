"""Peak memory of one side of one workload, measured in a process of its own.

As a program: ``python -m x2vlm.benchmark.comparison.workload_memory CASE NUMBER SIDE THREADS``, the case as JSON.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

import torch

from x2vlm.benchmark.timing.peak_memory import measure_in_process
from x2vlm.benchmark.workloads.workload_cases import Case
from x2vlm.engine.cpu_allocator import keep_freed_memory
from x2vlm.engine.process_memory import peak_memory


def workload_peak_memory(case: Case, number: int, side: str) -> int:
    """Bytes that a process holds at most which runs one side of a workload once.

    Args:
        case: The case.
        number: Index of the workload among those of the case.
        side: ``library`` or ``reference``.

    Raises:
        RuntimeError: If the process fails.
    """
    arguments = [json.dumps(asdict(case)), str(number), side, str(torch.get_num_threads())]
    return measure_in_process("x2vlm.benchmark.comparison.workload_memory", arguments)


def main(argv: Sequence[str]) -> int:
    """Run one side of a workload once and write the peak memory of this process."""
    case, number, side, threads = argv
    torch.set_num_threads(int(threads))
    keep_freed_memory()
    getattr(Case(**json.loads(case)).workloads()[int(number)], side)()
    sys.stdout.write(f"{peak_memory()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
