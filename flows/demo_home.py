"""The demo's own home: emptied at each start, never a folder that no demo made."""

from __future__ import annotations

import shutil
from pathlib import Path

from feature_store.sources.generator import DEFAULT_EDGE
from flows._errors import FlowError
from flows.settings import FILE_NAME
from tasks.home import write_text

MARK = "tradewind-demo"
SYMBOLS = ("EURUSD", "GBPUSD", "USDJPY", "AUDUSD")
_SETTINGS = """# Written by `tradewind demo`; emptied at each start.
settings_version = 1

[feeds.demo]
source = "generator"
clock = "ny+7"
commission_per_lot = 3.5
symbols = {{ {symbols} }}

[feeds.demo.market]
start = 2023-01-02
history_days = 364
days = 399
seed = {seed}
edge = {edge}

[pipelines.demo]
feed = "demo"
symbols = [{names}]
timeframe = "H1"
budget = {{ trials = 3 }}

[accounts.demo]
mode = "sim"
feed = "demo"
currency = "USD"
start_balance = 10000.0
check_every_s = 30.0
lines = [
{lines}
]
"""


def prepare_home(root: Path, *, edge: float, seed: int) -> None:
    """An empty demo home with its settings. Raises `FlowError` for a folder that no demo made."""
    if root.exists() and any(root.iterdir()) and not (root / MARK).is_file():
        raise FlowError(f"{root} is not empty and was not made by a demo; name another --home")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    (root / MARK).touch()
    text = _SETTINGS.format(
        symbols=", ".join(f'{s} = "{s}"' for s in SYMBOLS),
        names=", ".join(f'"{s}"' for s in SYMBOLS),
        lines="\n".join(f'  {{ pipeline = "demo", symbol = "{s}" }},' for s in SYMBOLS),
        seed=seed,
        edge=edge,
    )
    write_text(root / FILE_NAME, text)


def default_edge(wanted: bool) -> float:
    """Strength of the planted edge: the generator's default, or none."""
    return DEFAULT_EDGE if wanted else 0.0
