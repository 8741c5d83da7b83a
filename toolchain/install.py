#!/usr/bin/env python3
"""Check and install what the machine must have: `python3 toolchain/install.py check|install|path`.

Exit codes: 0 all is there, 2 bad usage or a wrong pin, 4 something is missing or failed.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

if __package__ in (None, ""):  # run as a script: see the package, not the folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from toolchain import debian, sources
from toolchain.cache import Cache
from toolchain.errors import PinError, ToolchainError
from toolchain.pins import Pins, Tool, load
from toolchain.progress import say

OK, USAGE, INFRASTRUCTURE = 0, 2, 4
SYSTEM = "debian"


@dataclass(frozen=True)
class Row:
    """One line of `check`."""

    name: str
    present: bool
    version: str
    wanted: str
    licence: str
    purpose: str
    where: str
    get: str


def ready(tool: Tool, cache: Cache) -> tuple[str, str] | None:
    """Return version and place of a tool that is shown in bin/, or None when it is not."""
    found = sources.on_machine(tool, cache)
    if found is not None:
        commands, version = found
        first = str(next(iter(commands.values())))
        return (version, first) if cache.exposed(tool, commands) else None
    files = cache.finished(tool)
    if files is None or not cache.exposed(tool, files):
        return None
    return tool.version, str(cache.stored(tool))


def check(pins: Pins, cache: Cache) -> list[Row]:
    """Return what the machine has and lacks; changes nothing."""
    lacking = debian.missing(pins.packages, pins.release)
    known = debian.versions(pins.packages) if debian.is_release(pins.release) else {}
    rows = [
        Row(
            name=p.name,
            present=p not in lacking,
            version=known.get(p.name, ""),
            wanted=f">= {p.minimum}",
            licence="",
            purpose=p.purpose,
            where="system",
            get=debian.command((p,)) if p in lacking else "",
        )
        for p in pins.packages
    ]
    for tool in pins.tools:
        state = ready(tool, cache)
        if tool.optional and state is None:
            continue
        rows.append(
            Row(
                name=tool.name,
                present=state is not None,
                version=state[0] if state else "",
                wanted=tool.version,
                licence=tool.licence,
                purpose=tool.purpose,
                where=state[1] if state else "",
                get="" if state else f"python3 toolchain/install.py install --only {tool.name}",
            )
        )
    return rows


def install_tool(tool: Tool, pins: Pins, cache: Cache) -> None:
    """Make `tool` if it is neither on the machine nor in the store, and show it in bin/."""
    found = sources.on_machine(tool, cache)
    if found is not None:
        cache.expose(tool, found[0])
        say(f"{tool.name} {found[1]}: already on this machine")
        return
    files = cache.finished(tool)
    if files is None:
        with cache.scratch() as stage:
            sources.make(tool, pins.go, cache, stage)
            cache.keep(tool, stage)
        files = cache.finished(tool)
        say(f"{tool.name} {tool.version}: done")
    cache.expose(tool, files or {})


def install(pins: Pins, cache: Cache, only: str | None) -> list[str]:
    """Install all but what is optional, or `only` one; returns a message for each that failed."""
    failed: list[str] = []
    if only in (None, SYSTEM):
        try:
            debian.install(pins.packages, pins.release, cache)
        except ToolchainError as error:
            failed.append(f"{SYSTEM}: {error}")
    asked = [t for t in pins.tools if t.name == only or (only is None and not t.optional)]
    wanted = [t for t in asked if ready(t, cache) is None]
    if not wanted:
        return failed
    with cache.locked():
        for tool in wanted:
            try:
                install_tool(tool, pins, cache)
            except (ToolchainError, OSError) as error:
                failed.append(f"{tool.name}: {error}")
                say(f"{tool.name}: FAILED")
    return failed


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(INFRASTRUCTURE))
    cache = Cache.default()
    try:
        pins = load()
    except PinError as error:
        print(f"wrong pin: {error}", file=sys.stderr)
        return USAGE
    args = _arguments(pins, argv)
    if args.command == "path":
        print(cache.bin)
        return OK
    if args.command == "check":
        return _print_check(check(pins, cache), as_json=args.json)
    started = time.monotonic()
    failed = install(pins, cache, args.only)
    for message in failed:
        print(f"error: {message}", file=sys.stderr)
    if failed:
        return INFRASTRUCTURE
    print(f"toolchain: all there, {cache.bin} ({time.monotonic() - started:.1f} s)")
    return OK


def _arguments(pins: Pins, argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="toolchain/install.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="say what the machine has and lacks")
    checking.add_argument("--json", action="store_true", help="machine-readable")
    installing = commands.add_parser("install", help="install what is missing")
    names = [SYSTEM, *(tool.name for tool in pins.tools)]
    installing.add_argument("--only", choices=names, metavar="TOOL", help=", ".join(names))
    commands.add_parser("path", help="print the folder to put on PATH")
    return parser.parse_args(argv)


def _print_check(rows: list[Row], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        for row in rows:
            state = "ok     " if row.present else "MISSING"
            version = row.version or row.wanted
            print(f"{state} {row.name:24} {version:26} {row.purpose}")
            if not row.present:
                print(f"        get it: {row.get}")
    return OK if all(row.present for row in rows) else INFRASTRUCTURE


if __name__ == "__main__":
    sys.exit(main())
