"""What the proofs in a bundle show: what was logged, since when by whose word, signed by whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.evidence import bindings, layout
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.contents import Contents
from orchestrator.evidence.dsse import SignatureError
from orchestrator.evidence.tlog import proofs
from orchestrator.evidence.tlog.entries import Entry, LogError
from orchestrator.evidence.tlog.note import Checkpoint
from orchestrator.evidence.trust import signatures
from orchestrator.evidence.trust import time as trusted_time
from orchestrator.evidence.trust.signatures import Signed
from orchestrator.evidence.trust.time import Moment, Vouched
from orchestrator.evidence.trust.values import Trust


@dataclass(frozen=True)
class Logged:
    """By kind of statement: its entry, and when it was signed; by checkpoint, who vouches for it.

    An entry is here if a trusted log key signed the checkpoint over it, good at the time or not
    (that is among the problems).
    """

    entries: Mapping[str, Entry]
    moments: Mapping[str, Moment]
    vouched: Mapping[str, Vouched]
    signed: tuple[Signed, ...]
    problems: tuple[Problem, ...]


def read(contents: Contents, trust: Trust) -> Logged:
    """Return what the log of a bundle proves to who trusts so."""
    keys = [one.key for one in trust.of_role("log")]
    problems: list[Problem] = []
    shown: dict[str, tuple[Entry, Checkpoint]] = {}
    for kind, path in layout.PROOFS.items():
        if path not in contents:
            continue
        try:
            shown[kind] = proofs.included(contents[path], keys)
        except LogError as error:
            problems.append(Problem(error.code, path, str(error)))
    vouched: dict[str, Vouched] = {}
    for kind in ("plan", "run"):  # the findings are under the result's checkpoint
        if kind in shown:
            head = shown[kind][1]
            witnesses, wrong = trusted_time.witnesses_of(head, trust, layout.PROOFS[kind])
            times, untimely = trusted_time.timestamps_of(head, kind, contents, trust)
            vouched[kind] = Vouched(witnesses, times)
            problems += wrong + untimely
    every = {kind: entry for kind, (entry, _) in shown.items()}
    moments = trusted_time.moments(every, vouched, trust.thresholds)
    seen: dict[str, Checkpoint] = {}
    signed: list[Signed] = []
    for kind, (_, checkpoint) in shown.items():
        path = layout.PROOFS[kind]
        try:
            own, found = signatures.check_checkpoint(checkpoint, trust, moments[kind], path)
        except SignatureError as error:
            problems.append(Problem("log-signature", path, str(error)))
            continue
        signed += own
        problems += found
        if not {one.code for one in found} & {"untrusted-signer", "wrong-role"}:
            seen[kind] = checkpoint
    problems += bindings.check_growth(seen, contents.get(layout.GROWTH))
    entries = {kind: every[kind] for kind in seen}
    return Logged(entries, moments, vouched, tuple(signed), tuple(problems))
