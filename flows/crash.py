"""What is left of a fault of Tradewind itself: a file with everything, and one line for the user."""

from __future__ import annotations

import platform
import sys
import tempfile
import traceback
from pathlib import Path


def record(error: BaseException) -> str:
    """Write the traceback to a file; the line to show. Locals are left out: they may hold secrets."""
    text = f"python {platform.python_version()} on {platform.platform()}\nargv {sys.argv[1:]}\n\n"
    text += "".join(traceback.format_exception(error))
    first = " ".join(str(error).split())[:200]
    try:
        with tempfile.NamedTemporaryFile("w", prefix="tradewind-crash-", suffix=".txt", delete=False, encoding="utf-8") as file:
            file.write(text)
        where = f"details in {Path(file.name)}"
    except OSError:
        where = "and its details could not be written"
    return f"a fault of Tradewind itself ({type(error).__name__}: {first}); {where}"
