"""Record `anlan drill watch` of a real run as an animated picture of a terminal.

    uv run --group docs docs/images/record.py DRILL ENV > docs/images/watch.svg

The drill runs in the background, as by another operator; what is recorded is a second process on
a terminal of its own. Nothing is edited but paths that lead to the state directory.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from html import escape
from itertools import groupby
from pathlib import Path

import pyte

COLUMNS, LINES = 110, 44
ROW, CHAR, PAD = 18, 8.0, 16
PAUSE_SECONDS = 6.0
COLOURS = {"default": "#d7dae0", "green": "#7ec699", "red": "#ef7c7c", "brown": "#e5c07b"}

Run = tuple[str, str, bool]
"""Neighbouring characters of one look: text, colour, bold."""
Row = tuple[Run, ...]


def main(drill: str, environment: str) -> None:
    """Run the drill, watch it, print the picture."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    before = _runs()
    command = [sys.executable, "-m", "orchestrator", "drill"]
    with subprocess.Popen([*command, "run", drill, environment], **quiet) as running:
        while not (new := _runs() - before):
            if running.poll() is not None:
                raise SystemExit(f"the drill ended with {running.returncode} before it began")
            time.sleep(0.05)
        frames = watch([*command, "watch", new.pop()])
    print(picture(frames, f"anlan drill watch {drill}-…"))  # noqa: T201


def _runs() -> set[str]:
    listed = [sys.executable, "-m", "orchestrator", "drill", "history", "--json"]
    found = json.loads(subprocess.run(listed, capture_output=True, check=True).stdout)
    return {one["run"] for one in found}


def watch(command: list[str]) -> list[tuple[float, list[Row]]]:
    """What a terminal shows of a command: (seconds since the start, its rows) at each change."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    frames: list[tuple[float, list[Row]]] = []
    began = time.monotonic()
    pid, descriptor = pty.fork()
    if pid == 0:
        look = {
            "COLUMNS": str(COLUMNS),
            "LINES": str(LINES),
            "TERM": "xterm",
        }
        os.execve(command[0], command, {**os.environ, **look})  # noqa: S606
    while True:
        try:
            stream.feed(os.read(descriptor, 65536))
        except OSError:  # the terminal's other end is closed: the command has ended
            break
        rows = [_row(screen, number) for number in range(LINES)]
        if not frames or rows != frames[-1][1]:
            frames.append((time.monotonic() - began, rows))
    os.waitpid(pid, 0)
    return frames


def _row(screen: pyte.Screen, number: int) -> Row:
    line = [screen.buffer[number][column] for column in range(COLUMNS)]
    runs = [
        ("".join(char.data for char in chars), colour, bold)
        for (colour, bold), chars in groupby(line, key=lambda char: (char.fg, char.bold))
    ]
    while runs and not runs[-1][0].strip():
        runs.pop()
    return tuple(runs)


def picture(frames: list[tuple[float, list[Row]]], title: str) -> str:
    """An SVG that plays the frames for ever; without animation it shows the last one."""
    end = frames[-1][0] + PAUSE_SECONDS
    used = max(n for _, rows in frames for n, row in enumerate(rows) if row) + 1
    width, height = COLUMNS * CHAR + 2 * PAD, used * ROW + 2 * PAD + 28
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'font-family="ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace" '
        f'font-size="13.3"><title>{escape(title)}</title>',
        f'<rect width="100%" height="100%" rx="8" fill="#20242c"><animate id="play" '
        f'attributeName="opacity" values="1;1" begin="0s;play.end" dur="{end:.2f}s"/></rect>',
        f'<text x="{PAD}" y="24" fill="#8a919e">$ {escape(title)}</text>',
    ]
    for number in range(used):
        column = [(at, rows[number]) for at, rows in frames]
        shown = [next(group) for _, group in groupby(column, key=lambda one: one[1])]
        for position, (begin, row) in enumerate(shown):
            last = position == len(shown) - 1
            until = end if last else shown[position + 1][0]
            if row:
                parts.append(_text(row, PAD + 28 + (number + 1) * ROW - 5, begin, until, last))
    return "\n".join([*parts, "</svg>"])


def _text(row: Row, y: float, begin: float, until: float, last: bool) -> str:
    spans, column = [], 0
    for text, colour, bold in row:
        fill = COLOURS.get(colour, COLOURS["default"])
        weight = ' font-weight="bold"' if bold else ""
        x = PAD + column * CHAR
        shown = escape(text.replace(f"{Path.cwd()}/", ""))
        spans.append(f'<tspan x="{x:g}" fill="{fill}"{weight}>{shown}</tspan>')
        column += len(text)
    to, from_, till = ("hidden", 0.0, begin) if last else ("visible", begin, until)
    timing = f'begin="play.begin+{from_:.2f}s" end="play.begin+{till:.2f}s"'
    change = f'<set attributeName="visibility" to="{to}" {timing}/>' if till > from_ else ""
    hidden = "" if last else ' visibility="hidden"'
    return f'<text y="{y:g}" xml:space="preserve"{hidden}>{"".join(spans)}{change}</text>'


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    main(*sys.argv[1:])
