"""The list of third-party licences, generated from the lock and the packages' own metadata.

python -m tools.licences           write THIRD_PARTY_LICENCES.md
python -m tools.licences --check   fail when it is out of date or a licence may not be in the product
"""

from __future__ import annotations

import argparse
import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK, LIST = ROOT / "requirements.lock", ROOT / "THIRD_PARTY_LICENCES.md"

# Said by hand: packages that exist only on other platforms or Python versions, whose metadata is not at
# hand where the list is made, and packages whose metadata says nothing or offers a choice.
STATED = {
    "async-timeout": "Apache-2.0",
    "backports-asyncio-runner": "PSF-2.0",
    "backports-tarfile": "MIT",
    "backports-zstd": "PSF-2.0",
    "exceptiongroup": "MIT",
    "huey": "MIT",
    "metatrader5": "MIT",
    "pywin32": "PSF-2.0",
    "text-unidecode": "Artistic-1.0 (chosen; also offered under GPL-2.0-or-later)",
    "tomli": "MIT",
    "waitress": "ZPL-2.1",
    "whenever": "MIT",
}
FORBIDDEN = re.compile(r"\b(A?GPL|GNU (Affero )?General Public|Commons Clause|SSPL)", re.IGNORECASE)


def locked() -> dict[str, list[str]]:
    """Versions (with the condition under which each is installed) of every package of the lock."""
    found: dict[str, list[str]] = {}
    for line in LOCK.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==([^ ;]+)(?: ; (.*))?$", line):
            name, version, condition = match.groups()
            found.setdefault(name.lower(), []).append(version + (f" ({condition})" if condition else ""))
    return found


def licence(name: str) -> str:
    """The licence in the package's own words, shortened to one line; empty when nobody says."""
    if name in STATED:
        return STATED[name]
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        # Installed on another platform or Python only: keep what was read there.
        row = re.search(rf"^\| {re.escape(name)} \| .* \| (.*) \|$", LIST.read_text(encoding="utf-8"), re.MULTILINE)
        return row.group(1) if row else ""
    if expression := about.get("License-Expression"):
        return str(expression)
    classes = [c.split(" :: ")[-1] for c in about.get_all("Classifier") or [] if c.startswith("License ::")]
    text = (about.get("License") or "").strip()
    short = text if text and "\n" not in text and len(text) <= 60 else ""
    return short or "; ".join(classes) or text.splitlines()[0][:60] if (short or classes or text) else ""


def page() -> tuple[str, list[str]]:
    """The list as Markdown, and what is wrong with it."""
    rows, wrong = [], []
    for name, versions in sorted(locked().items()):
        says = licence(name)
        if not says:
            wrong.append(f"{name}: no licence is known; look it up and add it to STATED in tools/licences.py")
        if FORBIDDEN.search(says) and name not in STATED:
            wrong.append(f"{name}: {says} may not be part of the product")
        rows.append(f"| {name} | {'<br>'.join(versions)} | {says} |")
    head = [
        "# Third-party licences",
        "",
        "Generated from `requirements.lock` by `python -m tools.licences`. Tradewind itself is Apache-2.0.",
        "On Linux with an NVIDIA GPU, torch brings NVIDIA's CUDA libraries under NVIDIA's own licence.",
        "",
        "| package | version | licence |",
        "| --- | --- | --- |",
    ]
    return "\n".join([*head, *rows]) + "\n", wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    text, wrong = page()
    if check and (not LIST.exists() or LIST.read_text(encoding="utf-8") != text):
        wrong.append(f"{LIST.name} is out of date; run python -m tools.licences")
    elif not check:
        LIST.write_text(text, encoding="utf-8")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
