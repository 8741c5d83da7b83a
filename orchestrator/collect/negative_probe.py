"""Kind `negative_probe`: what must be refused, really tried.

Data: `attempt` (what was tried, and as whom), `refused` (null when the answer is no word about it),
`answer`, `if_it_succeeds` (why the attempt does no harm then, and what is undone), `undone` (null
when nothing had to be), `logged` (whether the refusal is in the server's log, null where none is
looked for), `applicable` (false where there is nobody else to try as).

Whether a thing is refused by right is told apart from an attempt that failed otherwise: only the
first proves anything.
"""

from __future__ import annotations

from functools import partial

from orchestrator.collect import probes_database, probes_erp, probes_host, probes_secrets
from orchestrator.collect.observe import Collector, Observation
from orchestrator.collect.probe import Probe
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment

KIND = "negative_probe"


def probes(environment: Environment, secrets: Secrets) -> list[Probe]:
    """Every probe, of each part of the environment."""
    return [
        *probes_database.probes(environment, secrets),
        *probes_secrets.probes(environment, secrets),
        *probes_erp.probes(environment, secrets),
        *probes_host.probes(environment),
    ]


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each probe: `common/probe/NAME`, or `a/probe/NAME` for one site."""
    return [
        Collector(
            kind=KIND,
            subject=probe.subject,
            source=probe.source,
            query=probe.attempt,
            look=partial(look, probe),
        )
        for probe in probes(environment, secrets)
    ]


def look(probe: Probe) -> Observation:
    """Try it. Raises InfrastructureError when the attempt could not be made."""
    tried = probe.act()
    data = {
        "attempt": probe.attempt,
        "refused": tried.refused,
        "answer": tried.answer[:400],
        "if_it_succeeds": probe.if_it_succeeds,
        "undone": tried.undone,
        "logged": tried.logged,
        "applicable": tried.applicable,
    }
    return Observation(data, 1)
