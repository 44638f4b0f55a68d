#!/usr/bin/env python3
"""Tradewind on a machine that has only Python 3.11-3.13 and git.

  python3 run.py demo            install, then bars to trades on the embedded simulated broker
  python3 run.py test [--all]    install, then lint, types, layers, licences and tests (--all: slow ones too)
  python3 run.py SUB ...         any `tradewind` sub-command; `python3 run.py --help` lists them
  python3 run.py lock            for maintainers: resolve pyproject.toml into requirements.lock again

Everything is installed into .venv beside this file, from requirements.lock alone.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = Path(os.environ.get("TRADEWIND_VENV", ROOT / ".venv"))
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
LOCK = ROOT / "requirements.lock"
UV = "uv==0.13.8"
OLDEST, NEWEST = (3, 11), (3, 13)


def stamp() -> str:
    """Hash of all that decides what must stand in .venv; another hash means another install."""
    parts = [LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), str(ROOT).encode(), sys.version.encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def pip(*arguments: str, env: dict[str, str], quiet_errors: bool = False) -> bool:
    """Whether pip in .venv did what it was asked."""
    errors = subprocess.DEVNULL if quiet_errors else None
    return (
        subprocess.run([PYTHON, "-m", "pip", "-q", *arguments], env=env, stdout=subprocess.DEVNULL, stderr=errors).returncode == 0
    )


def uv(*arguments: str, env: dict[str, str]) -> bool:
    """Whether uv in .venv did what it was asked."""
    return subprocess.run([PYTHON, "-m", "uv", "pip", *arguments], env=env).returncode == 0


def made_by() -> str:
    """Version of the Python that made .venv; empty when there is none."""
    config = VENV / "pyvenv.cfg"
    lines = config.read_text(encoding="utf-8").splitlines() if config.exists() else []
    return next((line.partition("=")[2].strip() for line in lines if line.startswith("version")), "")


def install() -> None:
    """Make .venv hold exactly the lock and this project; nothing to do when its stamp still fits."""
    mark, want = VENV / "tradewind-install", stamp()
    if PYTHON.exists() and mark.exists() and mark.read_text(encoding="utf-8") == want:
        return
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        sys.exit(f"Tradewind needs Python 3.11 to 3.13; this is {sys.version.split()[0]}: run run.py with one of those")
    packages = sum("==" in line for line in LOCK.read_text(encoding="utf-8").splitlines())
    print(f"installing {packages} packages into {VENV} ...", file=sys.stderr)
    started = time.monotonic()
    mark.unlink(missing_ok=True)
    if not PYTHON.exists() or made_by() != sys.version.split()[0]:
        try:
            # Only what is an environment is emptied: TRADEWIND_VENV may name a folder with other things in it.
            venv.create(VENV, with_pip=True, clear=(VENV / "pyvenv.cfg").exists())
        except subprocess.CalledProcessError:
            sys.exit("Python's venv module cannot install pip here; on Debian or Ubuntu: apt-get install python3-venv")
    env = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    # What pip is told about local wheels holds for uv too, so no path stands in this repository.
    if env.get("PIP_FIND_LINKS"):
        env.setdefault("UV_FIND_LINKS", env["PIP_FIND_LINKS"].replace(" ", ","))
    project = ("--no-deps", "--no-build-isolation", "-e", str(ROOT))
    fast = pip("install", UV, env=env, quiet_errors=True) and uv(
        "install", "-q", "--python", str(PYTHON), "-r", str(LOCK), env=env
    )
    if not fast and not pip("install", "-r", str(LOCK), env=env):
        sys.exit("the packages of requirements.lock could not be installed: is a package index reachable, is the disk full?")
    if not pip("install", *project, env=env):
        sys.exit("Tradewind itself could not be installed into .venv; remove .venv and run this again")
    mark.write_text(want, encoding="utf-8")
    print(f"installed in {time.monotonic() - started:.0f} s ({'uv' if fast else 'pip'})", file=sys.stderr)


def test(arguments: list[str]) -> int:
    """Exit status of the first check that fails, 0 when all pass."""
    everything = "--all" in arguments
    rest = [a for a in arguments if a != "--all"]
    workers = str(max(2, os.cpu_count() or 2))
    # Each test process owns one core: libraries that start a thread per core only get in each other's way.
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "POLARS_MAX_THREADS": "2"}
    select = [] if everything else ["-m", "not slow"]
    checks = {
        "lint": ["ruff", "check", "."],
        "format": ["ruff", "format", "--check", "-q", "."],
        "types": ["mypy"],
        "layers": ["lint-imports"],
        "licences": ["tools.licences", "--check"],
        "tests": ["pytest", "-q", "-n", workers, "--dist", "worksteal", *select, *rest],
    }
    for name, command in checks.items():
        started = time.monotonic()
        print(f"== {name}", flush=True)
        start = [str(PYTHON.with_name(command[0]))] if name == "layers" else [str(PYTHON), "-m", *command]
        code = subprocess.call(start, cwd=ROOT, env=env)
        print(f"== {name}: {'ok' if code == 0 else f'FAILED ({code})'} in {time.monotonic() - started:.0f} s", flush=True)
        if code:
            return code
    return 0


def lock() -> int:
    """Resolve pyproject.toml for every platform and write requirements.lock."""
    out = VENV / "resolved.lock"
    command = ("compile", "-q", "--universal", "--python-version", "3.11", "--group", "dev", "--no-annotate", "--no-header")
    env = {k: v for k, v in os.environ.items() if k not in ("UV_FIND_LINKS", "PIP_FIND_LINKS")}
    if not uv(*command, "--upgrade", str(ROOT / "pyproject.toml"), "-o", str(out), env=env):
        return 1
    # What torch needs beside itself depends on the build found: its own metadata names it at install time.
    drop = ("nvidia-", "cuda-", "triton")
    lines = [line for line in out.read_text(encoding="utf-8").splitlines() if not line.startswith(drop)]
    head = "# Every package this project installs, pinned. Made by `python3 run.py lock`."
    LOCK.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return 0


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__)
        return 2
    install()
    if arguments[0] == "test":
        return test(arguments[1:])
    if arguments[0] == "lock":
        return lock()
    command = [str(PYTHON), "-m", "flows.cli", *arguments]
    if os.name != "nt":
        # Become the command: signals then reach it and not a middleman.
        os.execv(command[0], command)
    return subprocess.call(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
