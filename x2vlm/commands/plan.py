"""``plan``: parameters, memory, traffic and reading rates of a config's run, from formulas; nothing is built or read.

docs/scale.md says what the formulas are and how far they were checked.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from x2vlm.config import add_cfg_options, load_config
from x2vlm.planning.activations import BYTES


def main(argv: Sequence[str] | None = None) -> int:
    """Plan a run; returns the exit status."""
    args = _parse(argv)
    from x2vlm.planning.plan_table import format_plan
    from x2vlm.planning.run_plan import plan_run  # imports torch, which `--help` need not wait for

    plan = plan_run(
        load_config(args.config, args.cfg_options),
        processes=args.processes,
        precision=args.precision,
        checkpointing=args.checkpointing,
        step_seconds=args.step_seconds,
        record_bytes=args.record_kb * 1000,
        shard_bytes=args.shard_mib * 2**20,
    )
    sys.stdout.write(json.dumps(plan, indent=2) + "\n" if args.json else format_plan(args.config, plan))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="x2vlm plan", description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("--processes", type=int, help="(default: as many as the config's global_batch needs, or 1)")
    parser.add_argument("--precision", choices=tuple(BYTES), help="(default: the config's)")
    parser.add_argument(
        "--checkpointing",
        action=argparse.BooleanOptionalAction,
        help="recompute activations (default: what the config says)",
    )
    parser.add_argument("--step-seconds", type=float, default=1.0, help="time of a step, measured (default: 1)")
    parser.add_argument("--record-kb", type=float, default=50, help="kilobytes of a record (default: 50)")
    parser.add_argument("--shard-mib", type=float, default=512, help="MiB of a shard (default: 512)")
    parser.add_argument("--json", action="store_true", help="for programs: one object, in bytes")
    add_cfg_options(parser)
    return parser.parse_args(argv)
