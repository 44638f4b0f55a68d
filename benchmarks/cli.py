"""How long the command takes to answer: `--help`, and looking at a home; each a process of its own.

python benchmarks/cli.py [repeats]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("--help", "retrain --help", "trade --help", "status", "data", "features", "config")
HELP_LIMIT_S = 0.5


def seconds(*arguments: str) -> float:
    """Wall time of one `tradewind` process."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "flows.cli", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)
    assert done.returncode == 0
    return time.perf_counter() - started


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    print(f"{'command':<18}{'median s':>10}{'best s':>10}")
    with tempfile.TemporaryDirectory() as home:
        for command in COMMANDS:
            words = command.split()
            place = [] if words[-1] == "--help" else ["--home", home]
            seconds(*words, *place)  # the first reads from disk
            times = [seconds(*words, *place) for _ in range(repeats)]
            note = f"   (limit {HELP_LIMIT_S} s)" if not place else ""
            print(f"{command:<18}{statistics.median(times):>10.3f}{min(times):>10.3f}{note}")


if __name__ == "__main__":
    main()
