"""The trade flow: starts, watches and reports an account's trader. The trader is a process of its own: it
outlives this flow, its worker and the Prefect server, and is stopped by `halt`, `flatten` or a signal."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from flows.quiet import quiet_environment

quiet_environment()

from filelock import FileLock, Timeout  # noqa: E402
from prefect import flow, get_run_logger  # noqa: E402

from feature_store.clock import Clock, SystemClock  # noqa: E402
from flows._errors import FlowError  # noqa: E402
from flows.settings import home_folder, load  # noqa: E402
from serving import reports  # noqa: E402
from serving.control import account_folder, journal_path  # noqa: E402
from serving.journal import read  # noqa: E402
from tasks import artifacts  # noqa: E402
from tasks._step import step  # noqa: E402

_TRY_LATER = 3  # exit status of a trader that found another one on its account, or no champion yet
_LOOK_S = 5.0
_TAIL_BYTES = 2000


@step("start trader of {account}")
def start_trader(root: Path, account: str, bars: int | None) -> subprocess.Popen[bytes]:
    """The trader's process, in a session of its own, writing JSON lines to the account's trader.log."""
    folder = account_folder(root, account)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "flows.cli", "trade", "--account", account, "--home", str(root), "--json"]
    if bars is not None:
        command += ["--bars", str(bars)]
    detached: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        detached = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    # The code's own folder first: a worker's working directory need not be the checkout.
    path = os.pathsep.join([str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")])
    with (folder / "trader.log").open("ab") as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": path}, **detached
        )


@step("report {account}")
def report(root: Path, account: str) -> dict[str, Any]:
    """How the account stands, from its journal, also as an artifact of the run."""
    path = journal_path(root, account)
    if not path.is_file():
        raise FlowError(
            f"account {account!r} has no journal; its trader never started, see {account_folder(root, account) / 'trader.log'}"
        )
    reader = read(path)
    try:
        found = reports.status(reader)
    finally:
        reader.close()
    state, fills = found["state"], found["fills"]
    lines = [
        f"state **{state['state']}** ({state['by']}: {state['reason']})",
        f"{fills['deals']} deals, net {fills['net']:+,.2f}",
        f"{len(found['positions'])} open positions, {len(found['unresolved'])} orders of unknown fate",
    ]
    artifacts.publish_markdown(f"account-{account.lower()}", "\n".join(f"- {line}" for line in lines), f"Account {account}")
    return found


@flow(name="trade", flow_run_name="trade {account}")
def trade(account: str, home: Path | None = None, bars: int | None = None, report_every_s: float = 300.0) -> dict[str, Any]:
    """Start the account's trader and watch it until it ends; a trader that runs already is watched as it is.

    Returns the account's status. Raises when the trader failed, with the last line it wrote.
    """
    root, _ = home_folder(home)
    load(root).account(account)
    log = get_run_logger()
    process = start_trader(root, account, bars)
    log.info("trader of %s is process %d", account, process.pid)
    code = watch(process, root, account, report_every_s, SystemClock())
    if code == _TRY_LATER and runs(root, account):
        log.warning("another trader runs on %s already; it goes on", account)
    elif code != 0:
        raise FlowError(f"the trader of {account!r} ended with status {code}: {_last_line(root, account)}")
    return report(root, account)


def watch(process: subprocess.Popen[bytes], root: Path, account: str, report_every_s: float, clock: Clock) -> int:
    """The process's exit status, once it has ended; reports the account now and then until it does."""
    next_report = clock.now_utc() + timedelta(seconds=report_every_s)
    while (code := process.poll()) is None:
        clock.wait_until(clock.now_utc() + timedelta(seconds=_LOOK_S if report_every_s > _LOOK_S else report_every_s))
        if clock.now_utc() >= next_report:
            next_report = clock.now_utc() + timedelta(seconds=report_every_s)
            if journal_path(root, account).is_file():
                report(root, account)
    return code


def runs(root: Path, account: str) -> bool:
    """Whether a trader holds the account's journal now."""
    lock = FileLock(journal_path(root, account).with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _last_line(root: Path, account: str) -> str:
    path = account_folder(root, account) / "trader.log"
    text = path.read_bytes()[-_TAIL_BYTES:].decode("utf-8", errors="replace").strip()
    return text.splitlines()[-1] if text else "it wrote nothing"
