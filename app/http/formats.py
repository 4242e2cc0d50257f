"""Figures, sizes and times as the pages write them: pure functions, used as template filters."""

from __future__ import annotations

from datetime import UTC, datetime

from markupsafe import Markup

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def ago(at: datetime, now: datetime) -> str:
    """`12 s ago`, `3 min ago`, `in 2 d`; `just now` within a second. What is to come is rounded: in 5 h 59 min is in 6 h."""
    seconds = int((now - at).total_seconds())
    ahead = -seconds
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
        if ahead >= size - size // 60:
            return f"in {(ahead + size // 2) // size} {unit}"
    return "just now"


def absolute(at: datetime, *, milliseconds: bool = False) -> str:
    """`2026-11-20 09:04:03 UTC`, with milliseconds on request."""
    at = at.astimezone(UTC)
    fraction = f".{at.microsecond // 1000:03d}" if milliseconds else ""
    return f"{at:%Y-%m-%d %H:%M:%S}{fraction} UTC"


def when(at: datetime | None, none: str = "never") -> Markup:
    """A `<time>` that reads relative and shows the absolute UTC time in its tooltip; the page's script keeps it fresh."""
    if at is None:
        return Markup('<span class="sub">{}</span>').format(none)
    at = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}" data-ago>{}</time>').format(
        at.isoformat(timespec="milliseconds").replace("+00:00", "Z"), absolute(at), ago(at, datetime.now(UTC))
    )


def moment(at: datetime | None) -> Markup:
    """A `<time>` that reads absolute, with milliseconds, for details."""
    if at is None:
        return Markup('<span class="sub">–</span>')
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), absolute(at, milliseconds=True))


def number(value: float | None) -> str:
    """`38`, `9,203`, `1.92 M`; a dash for nothing."""
    if value is None:
        return "–"
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:.2f} M"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.1f}"
    return f"{int(value):,}"


def milliseconds(value: float | None) -> str:
    """`0.31 ms`, `12 ms`, `1.4 s`; a dash for nothing."""
    if value is None:
        return "–"
    if value >= 1000:
        return f"{value / 1000:.1f} s"
    if value >= 10:
        return f"{value:.0f} ms"
    return f"{value:.1f} ms" if value >= 1 else f"{value:.2f} ms"


def size(value: float | None) -> str:
    """`0 B`, `2.1 KB`, `10.0 MB` (powers of 1,024); a dash for nothing."""
    if value is None:
        return "–"
    amount = float(value)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1024 or unit == "GB":
            break
        amount /= 1024
    return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"


def short_id(value: str, keep: int = 4) -> str:
    """A long id shortened in the middle: `call_01JD…9K2F`. Short ones stay whole."""
    prefix, separator, rest = value.rpartition("_")
    if len(rest) <= 2 * keep + 1:
        return value
    return f"{prefix}{separator}{rest[:keep]}…{rest[-keep:]}"


def plural(count: int, one: str, many: str = "") -> str:
    """`1 rule`, `2 rules`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def words(name: str) -> str:
    """An identifier as words: `upstream_error` → `upstream error`."""
    return name.replace("_", " ").replace("-", " ")


def brief(value: object) -> str:
    """A value of an audit entry in a line: lists joined, members named, nothing as `none`."""
    if isinstance(value, dict):
        return ", ".join(f"{words(key)} {brief(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(brief(item) for item in value if item != "") or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def moment_of(seconds: float | None) -> datetime | None:
    """The time that so many Unix seconds mean."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
