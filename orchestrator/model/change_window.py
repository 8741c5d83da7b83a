"""Change windows: when a drill that touches production may begin. Pure.

A window opens on its days at `from` and closes at `until`, by the wall clock of its time zone;
`until` earlier than `from` is on the next day. A run that has begun is not cut off at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_AHEAD = timedelta(days=8)
Windows = Sequence[Mapping[str, Any]]


def problem(window: Mapping[str, Any]) -> str:
    """Return what is wrong with a window that fits its schema; empty if nothing is."""
    try:
        ZoneInfo(window.get("timezone", "UTC"))
    except (ZoneInfoNotFoundError, ValueError):
        return f"there is no time zone {window['timezone']!r}; name one such as Asia/Shanghai"
    return "it never opens" if window["from"] == window["until"] else ""


def is_open(windows: Windows, moment: datetime) -> bool:
    """Return whether one of the windows is open at a moment; without windows it always is."""
    return not windows or any(_opens(window, moment) for window in windows)


def next_opening(windows: Windows, moment: datetime) -> datetime | None:
    """Return the first whole minute from a moment on at which one is open; None within 8 days."""
    at = moment.replace(second=0, microsecond=0)
    while at < moment + _AHEAD:
        if at >= moment and is_open(windows, at):
            return at
        at += timedelta(minutes=1)
    return None


def text(window: Mapping[str, Any]) -> str:
    """Return a window in words."""
    zone = window.get("timezone", "UTC")
    return f"{', '.join(window['days'])} {window['from']} to {window['until']} {zone}"


def _opens(window: Mapping[str, Any], moment: datetime) -> bool:
    local = moment.astimezone(ZoneInfo(window.get("timezone", "UTC")))
    clock = f"{local:%H:%M}"
    today, yesterday = (DAYS[(local.weekday() - back) % 7] for back in (0, 1))
    if window["from"] < window["until"]:
        return today in window["days"] and window["from"] <= clock < window["until"]
    return (today in window["days"] and clock >= window["from"]) or (
        yesterday in window["days"] and clock < window["until"]
    )
