"""What the runs of an environment came to, by their signed results: for who works with the state.

The keys are those that the state directory kept, so this shows an operator what is on record. Who
trusts nobody verifies bundles with a key from outside (`orchestrator.evidence.verify`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.evidence import dsse, layout, statement
from orchestrator.evidence.bindings import Problem
from orchestrator.evidence.keys import PublicKey, load_public_keys
from orchestrator.evidence.tlog import log
from orchestrator.model.canonical import sha256, strict_loads
from orchestrator.model.fact import parse_timestamp

_STATEMENT = "statements/run.dsse.json"


@dataclass(frozen=True)
class Outcome:
    """The result of one finished run."""

    drill: str
    run_id: str
    verdict: str
    ended_at: datetime


def outcomes(state: Path, environment: str) -> tuple[list[Outcome], list[Problem]]:
    """Return the recorded results of an environment's runs, and what cannot be taken for one.

    A result counts when its statement is signed by a kept key, is in the log, and is about the
    plan that lies beside it. Raises InputError when a kept key cannot be read,
    InfrastructureError when the log cannot.
    """
    keys = load_public_keys(state / layout.KEYS)
    logged = {
        entry.statement for entry in log.log_of(state, environment).entries() if entry.kind == "run"
    }
    found: list[Outcome] = []
    problems: list[Problem] = []
    for path in sorted((state / "runs").glob(f"[!.]*/{_STATEMENT}")):
        run_dir = path.parent.parent
        try:
            plan = (run_dir / "plan.json").read_bytes()
            about = strict_loads(plan)
            if about["environment"]["name"] != environment:
                continue
            found.append(_outcome(path, about, sha256(plan), keys, logged))
        except (OSError, dsse.SignatureError, dsse.UntrustedError, ValueError, KeyError) as error:
            name = f"runs/{run_dir.name}/{_STATEMENT}"
            problems.append(Problem("run-not-counted", name, str(error)))
    return found, problems


def _outcome(
    path: Path,
    plan: dict[str, Any],
    plan_digest: str,
    keys: list[PublicKey],
    logged: set[str],
) -> Outcome:
    """Raises what `outcomes` catches."""
    envelope = dsse.parse(path.read_bytes())
    dsse.verify(envelope, statement.PAYLOAD_TYPE, keys)
    if sha256(envelope.payload) not in logged:
        raise ValueError("the log does not hold it")
    data = strict_loads(envelope.payload)
    said = data["predicate"]
    if data["predicateType"] != statement.PREDICATES["run"] or said["planDigest"] != plan_digest:
        raise ValueError("it is not the result of the plan beside it")
    run = said["run"]
    return Outcome(
        str(plan["drill"]["name"]),
        str(run["run_id"]),
        str(run["verdict"]),
        parse_timestamp(run["ended_at"]),
    )
