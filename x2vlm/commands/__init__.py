"""The commands of `x2vlm` and of `tools/`: one file each, arguments and output only."""

import os

# GNU OpenMP reads this when torch is imported. A thread that waits for the others spins 300,000 times by default, on a
# core that one of them may need: beside one busy process a step on two cores took ten times as long. 1,000 is what GNU
# OpenMP itself takes where threads outnumber cores, and costs little on a quiet machine.
if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
    os.environ["GOMP_SPINCOUNT"] = "1000"
