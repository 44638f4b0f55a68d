"""Times as text or numbers, and how a file writes them: told once from its first block, then read in one pass."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from feature_store._errors import Final

_FORM = re.compile(
    r"(?P<date>\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{4}|\d{8})"
    r"(?:(?P<gap>T| )(?P<time>\d{1,2}:\d{2}(?::\d{2})?|\d{6}|\d{4})(?P<fraction>[.,]\d{1,9}|(?<=\d{6})\d{3})?(?P<half> ?[AP]M)?)?"
    r"(?P<offset>Z| UTC| GMT| ?(?:GMT|UTC)?[+-]\d{2}:?\d{2})?",
    re.IGNORECASE,
)
_OFFSET = r"( ?(?:Z|UTC|GMT|(?:GMT|UTC)?[+-]\d{2}:?\d{2}))$"
# Epoch numbers by size: seconds until year 5138, then milli-, micro- and nanoseconds.
_EPOCHS = ((10**11, 1_000, 1), (10**14, 1, 1), (10**17, 1, 1_000), (10**20, 1, 1_000_000))
_DAY_MS = 86_400_000
_SAMPLE = 200


@dataclass(frozen=True)
class TimeForm:
    """How times are written. format: chrono format of text, "" for numbers; then ms = number x factor / divisor + base_ms.

    offset: text of the offset from UTC behind every time ("+00:00", "Z"), "" when there is none.
    """

    format: str
    offset: str = ""
    factor: int = 1
    divisor: int = 1
    base_ms: int = 0

    @property
    def is_number(self) -> bool:
        return not self.format


def milliseconds_of_day(day: date) -> TimeForm:
    """Numbers that count milliseconds from midnight of `day`."""
    return TimeForm("", base_ms=(day - date(1970, 1, 1)).days * _DAY_MS)


def tell_form(text: pl.Series, name: str) -> TimeForm | None:
    """The form that most of the times have, None where day and month cannot be told apart. Raises `Final` for no form."""
    known = text.drop_nulls().str.strip_chars()
    step = max(1, len(known) // _SAMPLE)
    sample = known.gather_every(step).to_list()
    votes = Counter(found for value in sample if (found := _form_of(value)) is not None)
    if not votes or votes.most_common(1)[0][1] * 2 <= len(sample):
        example = next((value for value in sample if value), "")
        raise Final(f"{name}: times such as {example!r} are in no known form; write them as 2024-01-31 13:45:00")
    form = votes.most_common(1)[0][0]
    if form.is_number:
        return form
    fractions = {f.format for f in votes if f.format.startswith(form.format.removesuffix(".000"))}
    if len(fractions) > 1 and form.format.endswith(".000"):
        form = replace(form, format=form.format.removesuffix(".000") + "%.f")
    return _day_and_month(known, form)


def _form_of(value: str) -> TimeForm | None:
    match = _FORM.fullmatch(value)
    if match is None or (match["time"] is None and len(value) == 8 and not _is_date(value)):
        return _epoch(value)
    day = match["date"]
    mark = "" if day.isdigit() else next(c for c in day if not c.isdigit())
    order = ("%Y", "%m", "%d") if day[:4].isdigit() else ("%d", "%m", "%Y")
    text = mark.join(order)
    if match["time"] is not None:
        text += match["gap"] + _clock(match["time"], match["half"] or "") + _fraction(match["fraction"])
        text += "" if match["half"] is None else " %p" if " " in match["half"] else "%p"
    return TimeForm(text, offset=match["offset"] or "")


def _is_date(digits: str) -> bool:
    return 1 <= int(digits[4:6]) <= 12 and 1 <= int(digits[6:]) <= 31 and 1970 <= int(digits[:4]) <= 2100


def _clock(text: str, half: str) -> str:
    hour = "%I" if half else "%H"
    if ":" in text:
        return f"{hour}:%M:%S" if text.count(":") == 2 else f"{hour}:%M"
    return "%H%M%S" if len(text) == 6 else "%H%M"


def _fraction(text: str | None) -> str:
    if text is None:
        return ""
    if text[0] not in ".,":
        return "%3f"
    return ".000" if text == ".000" else "%.f"


def _epoch(value: str) -> TimeForm | None:
    """Seconds, milli-, micro- or nanoseconds since 1970; fractions of a second may follow a point."""
    whole = re.fullmatch(r"(\d{8,20})(?:\.0*)?", value)
    if whole is None:
        return None
    number = int(whole[1])
    return next((TimeForm("", factor=factor, divisor=divisor) for top, factor, divisor in _EPOCHS if number < top), None)


def _day_and_month(known: pl.Series, form: TimeForm) -> TimeForm | None:
    """Which comes first in 03/04/2024: the reading that more times allow, or that does not jump a month each day.

    None when both read all times and neither jumps. Points stand between day, month and year, in this order.
    """
    if not form.format.startswith(("%d/", "%d-")):
        return form
    other = replace(form, format=form.format.replace("%d", "%?", 1).replace("%m", "%d", 1).replace("%?", "%m", 1))
    readings = [(_plain(known, f), f) for f in (form, other)]
    unread = [times.null_count() for times, _ in readings]
    if unread[0] != unread[1]:
        return form if unread[0] < unread[1] else other
    (short, told), (long, _) = sorted(((_span_s(times), f) for times, f in readings), key=lambda pair: pair[0])
    return told if long > 5 * short and short > _DAY_MS // 1000 else None


def _span_s(times: pl.Series) -> float:
    known = times.drop_nulls()
    return (known.dt.epoch("s").max() - known.dt.epoch("s").min()) if len(known) else 0.0  # type: ignore[operator, return-value]


def _plain(text: pl.Series, form: TimeForm) -> pl.Series:
    return text.str.to_datetime(form.format + form.offset, strict=False, time_unit="ms")


def read_times(text: pl.Series, form: TimeForm) -> pl.Series:
    """Datetime(ms): the wall clock as written, or UTC where offsets stand behind the times; null where unreadable."""
    if form.is_number:
        number = text.cast(pl.Int64, strict=False)
        if number.null_count() > text.null_count():  # 1514764800.0
            number = number.fill_null(text.cast(pl.Float64, strict=False).cast(pl.Int64, strict=False))
        ms = number * form.factor // form.divisor + form.base_ms
        return ms.cast(pl.Datetime("ms"))
    times = _plain(text, form)
    if form.offset and _offset_s(form.offset):
        times = times.dt.offset_by(f"{-_offset_s(form.offset)}s")
    if times.null_count() == text.null_count():
        return times
    return times.fill_null(_by_other_forms(text.filter(times.is_null()), form, times.is_null()))


def _by_other_forms(text: pl.Series, form: TimeForm, where: pl.Series) -> pl.Series:
    """Times of the few that are written in another unambiguous form than the rest, at their places."""
    plain = text.str.strip_chars()
    offsets = plain.str.extract(_OFFSET) if form.offset else pl.Series([""] * len(plain), dtype=pl.String)
    plain = plain.str.replace(_OFFSET, "") if form.offset else plain
    seconds = pl.Series([None if o is None else _offset_s(o) for o in offsets], dtype=pl.Int64)
    date_part = re.split(r"[T ]", form.format)[0]
    gap = "T" if "T" in form.format else " "
    found = pl.Series([None] * len(plain), dtype=pl.Datetime("ms"))
    for clock in (f"{gap}%H:%M:%S%.f", f"{gap}%H:%M:%S", f"{gap}%H:%M", ""):
        # Formats without a time need one to be read as a moment.
        values = plain if clock else plain + f"{gap}00:00"
        reading = values.str.to_datetime(date_part + (clock or f"{gap}%H:%M"), strict=False, time_unit="ms")
        found = found.fill_null(reading)
    moved = (found.dt.epoch("ms") - seconds * 1000).cast(pl.Datetime("ms"))
    numbers = where.cum_sum().cast(pl.Int64) - 1
    return moved.gather(numbers.clip(lower_bound=0))


def _offset_s(offset: str) -> int:
    """Seconds east of UTC of `+02:00`, `GMT+0200`, `Z`."""
    found = re.search(r"([+-])(\d{2}):?(\d{2})", offset)
    if found is None:
        return 0
    return (int(found[2]) * 3600 + int(found[3]) * 60) * (1 if found[1] == "+" else -1)


def looks_like_time(value: str) -> bool:
    """Whether the text is a date, a date with a time, or an epoch number."""
    return _form_of(value) is not None
