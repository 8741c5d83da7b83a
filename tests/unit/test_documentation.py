"""The documentation: its links lead somewhere, and its commands are those that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from orchestrator.cli import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *(ROOT / "toolchain/README.md", ROOT / "tests/vectors/README.md"),
    *sorted((ROOT / "docs").rglob("*.md")),
]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
FENCED = re.compile(r"^( *)```[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them of its headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        name = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        again = sum(one == name or re.fullmatch(rf"{name}-\d+", one) is not None for one in found)
        found.add(f"{name}-{again}" if again else name)
    return found


@each_page
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    for found in LINK.findall(FENCED.sub("", page.read_text())):
        link = "".join(found)
        if re.match(r"[a-z]+:", link):
            continue  # of the web: not asked here
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or target.suffix != ".md" or anchor in anchors(target), link


def commands(page: Path) -> Iterator[str]:
    """Each call of `anlan` that a page shows, in blocks and within text."""
    text = page.read_text()
    for _, block in FENCED.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if match := re.match(r"\s*(?:\$ )?(anlan .*)", line):
                yield match[1]
    yield from re.findall(r"`(anlan [^`]+)`", FENCED.sub("", text))


def unknown(line: str) -> str:
    """What of a call there is not: a command or an option; nothing when all is there."""
    plain = re.split(r" #|[|;&<>]| {3,}|\)\"", line.replace("\\|", "/"))[0]
    words = shlex.split(re.sub(r"[\[\]()…]", " ", plain))[1:]
    command: click.Command = cli
    context = click.Context(command)
    for word in words:
        if word.startswith("-") and len(word) > 1:
            options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
            # -c NAME=VALUE may be written together; a slash stands for either.
            for name in word.split("=")[0].split("/"):
                if name not in {*options, "--help", "-h"}:
                    return name
        elif isinstance(command, click.Group) and re.fullmatch(r"[a-z-]+(/[a-z-]+)*", word):
            found = [command.get_command(context, name) for name in word.split("/")]
            if None in found:
                return word
            command = found[0] or command
    return ""


@each_page
def test_every_command_and_option_that_is_shown_is_there(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return  # tells what was, too
    for line in commands(page):
        assert not unknown(line), line


def every_command(
    command: click.Command = cli, name: str = "anlan"
) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    for one in command.list_commands(context := click.Context(command)):
        found = command.get_command(context, one)
        assert found is not None
        yield from every_command(found, f"{name} {one}")


@pytest.mark.parametrize(("name", "command"), list(every_command()))
def test_the_help_of_every_command_has_examples_that_are_of_it(
    name: str, command: click.Command
) -> None:
    shown = re.findall(
        r"^ +(?:eval \"\$\()?(anlan (?:.*\\\n)*.*)", command.help or "", re.MULTILINE
    )
    assert shown
    for example in shown:
        assert example.startswith(name)
        assert not unknown(example.replace("\\\n", " ")), example


def test_a_command_or_option_that_is_not_there_is_noticed() -> None:
    assert unknown("anlan evidence verify B --trust FILE --json") == ""
    assert unknown("anlan evidence verfy B") == "verfy"
    assert unknown("anlan evidence verify B --trusted FILE") == "--trusted"
    assert len([line for page in PAGES for line in commands(page)]) > 200
