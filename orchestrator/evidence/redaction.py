"""No secret is in evidence: found, replaced before it is signed, and looked for again. Pure.

A mark (`[redacted:NAME]`) takes a secret's place in the raw data of a run; `raw/redactions.json`
lists the marks. What is base64 or packed within a file is not looked into; that is said in
docs/reference/evidence.md.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from orchestrator.evidence import layout
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.contents import Contents
from orchestrator.evidence.secret_patterns import PATTERNS, secrets_in
from orchestrator.model.canonical import StrictJsonError, same_json
from orchestrator.model.errors import InputError, Refused

FILE = "raw/redactions.json"
SCHEMA = "anlan.redactions/v1"
KNOWN_VALUE = "known-value"
"""The name of a secret that was found because the run had been given it, not by its looks."""
_SHORTEST_VALUE = 8
_SMALL_BYTES = 64 * 2**10
_MARK = re.compile(rb"\[redacted:([a-z0-9-]{1,40})\]")
_SIGNED = (layout.APPROVALS, layout.WAIVERS)


@dataclass(frozen=True)
class Found:
    """Secrets of one kind in one file; never their values."""

    file: str
    secret: str
    count: int

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"file": self.file, "secret": self.secret, "count": self.count}


def _apart(found: Iterable[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Start, end and name of secrets, in order; of those that overlap the first and longest."""
    kept: list[tuple[int, int, str]] = []
    for start, end, name in sorted(found, key=lambda one: (one[0], -one[1])):
        if not kept or start >= kept[-1][1]:
            kept.append((start, end, name))
    return kept


def scan(content: bytes) -> Mapping[str, int]:
    """Return how many secrets of each name look to be in the bytes of a file."""
    return dict(_of_small(content) if len(content) <= _SMALL_BYTES else _count(content))


@lru_cache(maxsize=256)  # policies: the same ones in every bundle
def _of_small(content: bytes) -> Counter[str]:
    return _count(content)


def _count(content: bytes) -> Counter[str]:
    return Counter(name for _, _, name in _apart(secrets_in(content)))


def scan_files(contents: Mapping[str, bytes], but: Collection[str] = ()) -> list[Found]:
    """Return the secrets in the files of a run or a bundle, `but` these, by path and name.

    Envelopes are not searched, their payloads being files of the bundle; of approvals and waivers,
    which are nowhere else, the payload is.
    """
    return [
        Found(path, name, count)
        for path in sorted(contents)
        if path not in but
        for name, count in sorted(scan(_searched(path, contents[path])).items())
    ]


def _searched(path: str, content: bytes) -> bytes:
    if path.startswith(_SIGNED):
        try:
            return content + b"\n" + b64decode(json.loads(content)["payload"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return content  # no envelope: that is said elsewhere
    return b"" if path.endswith(".dsse.json") else content


def redact(content: bytes, values: Collection[str] = ()) -> bytes:
    """Return the bytes of a file with a mark in the place of each secret.

    `values` are secrets that the run was given; those of fewer than 8 characters are too common to
    look for. Done twice it changes nothing more.
    """
    forms = {
        form.encode()
        for value in values
        if len(value) >= _SHORTEST_VALUE
        for form in (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    }
    names = [KNOWN_VALUE, *(one.name for one in PATTERNS)]
    known = [one for one in forms if not any(one in _mark(name) for name in names)]
    content = _marked(
        content,
        (
            (match.start(), match.end(), KNOWN_VALUE)
            for one in known
            for match in re.finditer(re.escape(one), content)
        ),
    )
    while found := list(secrets_in(content)):
        content = _marked(content, found)
    return content


def _mark(name: str) -> bytes:
    return b"[redacted:%s]" % name.encode()


def _marked(content: bytes, found: Iterable[tuple[int, int, str]]) -> bytes:
    parts: list[bytes] = []
    at = 0
    for start, end, name in _apart(found):
        parts += [content[at:start], _mark(name)]
        at = end
    return b"".join([*parts, content[at:]])


def is_redactable(path: str) -> bool:
    """Whether a file of a run may be changed before the run is signed: what a person signed no."""
    return path.startswith(layout.RAW) and not path.startswith(_SIGNED)


def redacted(contents: Mapping[str, bytes]) -> dict[str, Any]:
    """Return what `raw/redactions.json` says (schema `redactions`): the marks in the raw files.

    It is worked out from the marks alone, so that it is the same after a kill -9 and for a
    verifier.
    """
    listed = [
        Found(path, name.decode(), count).to_json()
        for path in sorted(contents)
        if path.startswith(layout.RAW) and path != FILE and b"[redacted:" in contents[path]
        for name, count in sorted(Counter(_MARK.findall(contents[path])).items())
    ]
    return {"schema": SCHEMA, "redactions": listed}


def check_secrets(contents: Contents) -> list[Problem]:
    """No secret is in a file, and what was redacted is listed.

    Findings and result are not searched: they are derived again from what is.
    """
    problems = [
        Problem(
            "secret-found", one.file, f"looks to hold a secret: {one.secret}, {one.count} of it"
        )
        for one in scan_files(contents, but=(layout.FINDINGS, layout.RUN))
    ]
    listed = redacted(contents)
    if FILE in contents or listed["redactions"]:
        try:
            recorded = contents.json(FILE) if FILE in contents else None
        except StrictJsonError as error:
            return [*problems, Problem("not-strict-json", FILE, str(error))]
        if not same_json(recorded, listed):
            problems.append(
                Problem("redaction-mismatch", FILE, "does not list the marks there are")
            )
    return problems


def refuse(contents: Mapping[str, bytes]) -> None:
    """Raise Refused when a secret is in the files of a run: it must not be signed or handed out."""
    if found := scan_files(contents):
        raise Refused(
            f"evidence would hold secrets: {_list(found)}",
            "replace these secrets, and remove them from what the run was made of",
        )


def require_none(contents: Mapping[str, bytes]) -> None:
    """Raise InputError when a secret is in what a run is planned from; it would be logged."""
    if found := scan_files(contents):
        raise InputError(
            f"there are secrets in it: {_list(found)}",
            "secrets belong in the secret manager: take it out, and replace it if it was shared",
            file=found[0].file,
        )


def _list(found: Iterable[Found]) -> str:
    return ", ".join(f"{one.secret} in {one.file}" for one in found)
