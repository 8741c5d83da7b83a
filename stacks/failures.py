"""What Pulumi's errors and its policy events say, in our words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from pulumi import automation

from orchestrator.model.errors import InfrastructureError, Refused

_AGAIN = "remove the cause, then run the same command again: it goes on where it stopped"

_COLOUR = re.compile(r"<\{%.*?%\}>")
_MANDATORY = "mandatory"


class Violated(Refused):
    """Policies do not allow what would be deployed; `deployed` when some of it already was."""

    def __init__(self, what: str, todo: str, *, deployed: bool) -> None:
        super().__init__(what, todo)
        self.deployed = deployed


@dataclass(frozen=True)
class Violation:
    """What one policy found in one part; `title` begins with the policy's severity."""

    policy: str
    title: str
    part: str
    found: str
    todo: str
    mandatory: bool

    def __str__(self) -> str:
        return f"{self.policy} ({self.title}): {self.part}: {self.found}"


class Seen(Protocol):
    """What was seen of a run: errors by part (in order), and violations; whether it only plans."""

    errors: dict[str, str]
    violations: list[Violation]
    planning: bool


def violation(event: Any) -> Violation:
    """Return what a policy event of the engine says."""
    text = _COLOUR.sub("", event.message).strip()
    title, line, rest = text.partition("\n")
    found, _, todo = rest.partition(". To do: ")
    return Violation(
        policy=event.policy_name,
        title=title if line else "not known yet",
        part=(event.resource_urn or "").rpartition("::")[2],
        found=found.strip() if line else text,
        todo=todo.strip(),
        mandatory=event.enforcement_level == _MANDATORY,
    )


def refusal(violations: Iterable[Violation], *, deployed: bool) -> Violated:
    """Return the error that names each policy, the parts it refuses, what was found, what to do."""
    policies: dict[str, list[Violation]] = {}
    for one in violations:
        policies.setdefault(one.policy, []).append(one)
    state = (
        "in the midst of the update: what came before is deployed"
        if deployed
        else "before anything was deployed"
    )
    lines = [f"refused by policy, {state}"]
    for name, found in policies.items():
        lines.append(f"  {name} ({found[0].title})")
        lines += [f"    {one.part}: {one.found}" for one in found]
    todo = "\n    ".join(f"{name}: {found[0].todo}" for name, found in policies.items())
    return Violated("\n".join(lines), todo, deployed=deployed)


@contextlib.contextmanager
def failures(seen: Seen) -> Iterator[None]:
    """Turn a failure of pulumi into an error that says which part failed, and why."""
    try:
        yield
    except automation.ConcurrentUpdateError as error:
        raise Refused(
            f"another pulumi took the stack just now: {_last_words(error)}", "wait for it"
        ) from error
    except automation.CommandError as error:
        if broken := [one for one in seen.violations if one.mandatory]:
            raise refusal(broken, deployed=not seen.planning) from error
        failed = {part: text for part, text in seen.errors.items() if "role " in text}
        reasons = [_reason(part, text) for part, text in (failed or seen.errors).items()]
        raise InfrastructureError("\n".join(reasons) or _last_words(error), _AGAIN) from error
    except OSError as error:
        raise InfrastructureError(f"cannot run pulumi: {error}", "`anlan doctor`") from error


def _reason(part: str, text: str) -> str:
    """An error of a part, without what Pulumi and gRPC put before it."""
    for noise in ("Exception calling application: ", "error: "):
        text = text.rpartition(noise)[2] or text
    return f"{part}: {text.strip()}" if part else text.strip()


def _last_words(error: Exception) -> str:
    """What pulumi said on standard error; a CommandError carries it in its text alone."""
    text = str(error)
    if killed := re.search(r"^ *code: -(\d+)$", text, re.MULTILINE):
        return f"pulumi was ended by signal {killed[1]}"
    said = text.partition("\n stderr: ")[2].strip() or text.strip()
    return said[-1500:]
