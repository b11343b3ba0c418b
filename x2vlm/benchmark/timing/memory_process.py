"""One side of one row of a case in a process of its own, for its peak memory: ``CASE(json) ROW SIDE THREADS``."""

import json
import sys
from collections.abc import Sequence

from x2vlm.benchmark.timing.measurement import peak_memory


def main(argv: Sequence[str]) -> int:
    """Run it once and write the most bytes it held."""
    import torch

    from x2vlm.benchmark.works.all_works import Case
    from x2vlm.engine.allocator import keep_freed_memory

    case, row, side, threads = argv
    torch.set_num_threads(int(threads))
    keep_freed_memory()
    getattr(Case(**json.loads(case)).works()[int(row)], side)()
    sys.stdout.write(f"{peak_memory()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
