"""An ``srun`` of two tasks on one node: sets what Slurm sets, starts both, and ends with the higher exit status."""

import os
import signal
import subprocess
import sys

command = sys.argv[1:]
while command and command[0].startswith("--"):  # its own arguments
    command.pop(0)
slurm = {"SLURM_JOB_ID": os.environ["FAKE_JOB"], "SLURM_NTASKS": "2", "SLURM_JOB_NODELIST": "localhost"}
tasks = [
    subprocess.Popen(command, env={**os.environ, **slurm, "SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)})
    for number in range(2)
]
signal.signal(signal.SIGTERM, lambda *_: [task.terminate() for task in tasks])
sys.exit(max(task.wait() for task in tasks))
