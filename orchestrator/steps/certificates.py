"""Verbs of the drill certificate-expiry: short-lived certificates, renewed in time or not."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from cryptography import x509

from orchestrator.collect import tls_endpoint
from orchestrator.collect.handshake import session, verify
from orchestrator.collect.observe import observe
from orchestrator.drivers.certificates import (
    ServerCertificate,
    lifetime_seconds,
    seconds_left,
    server_certificates,
)
from orchestrator.drivers.erp import Erp
from orchestrator.drivers.process import spawn
from orchestrator.evidence.layout import read_run_directory, rules_of
from orchestrator.model.errors import InfrastructureError
from orchestrator.policy import rederive_findings
from orchestrator.steps.context import Context, StepFailed
from orchestrator.steps.registry import verb

_HANDSHAKE_SECONDS = 0.1
_AFTER_EXPIRY_SECONDS = 1.5
# The PKI's certificates are valid from this long before they are made.
_BACKDATED_SECONDS = 30
# Issuing all of them takes its time; the last one must be guarded to its end too.
_SLACK_SECONDS = 30
_POLICY = "tls-certificate-trusted"


def _renewed(context: Context) -> list[ServerCertificate]:
    """Those that clients use, and that a reload renews: all but the ERPs."""
    return [one for one in server_certificates(context.environment).values() if one.reload]


def _expiring(context: Context) -> ServerCertificate:
    """The one that may run out: the standby site's ERP, which no client uses."""
    return server_certificates(context.environment)[f"{context.away.name}/erp"]


def put_back(context: Context) -> None:
    """Every server presents again what it presented before; nothing is left beside it."""
    ours = (*_renewed(context), _expiring(context))
    for one in ours:
        kept = one.kept
        one.put_back(context.token)
        if kept is not None:
            _await_served(context, one, kept)
    left = sorted({str(path) for one in ours for path in one.prefix.parent.glob("*.kept")})
    if left:
        raise StepFailed(f"left beside the certificates: {', '.join(left)}")


@verb(undo=put_back)
def shorten_certificates(context: Context) -> None:
    """Give servers certificates that live for seconds; a reload takes them, nothing is cut."""
    context.mark("fault")
    ttl = int(context.options["ttl_seconds"])
    # Nobody may meet one that ran out because this process died.
    spawn(
        [
            *(sys.executable, "-m", "orchestrator.drivers.certificate_guard"),
            *(
                context.directory / "environment.json",
                context.run_id,
                str(ttl + _SLACK_SECONDS),
            ),
        ],
        log_file=context.directory / "certificate-guard.log",
    )
    with _watched(context, _renewed(context)):
        for one in (*_renewed(context), _expiring(context)):
            _replace(context, one, "short", ttl)


@verb()
def renew_certificates(context: Context) -> None:
    """Renew each when less than a given time of its life is left, before it runs out."""
    before = float(context.options["renew_before_seconds"])
    with _watched(context, _renewed(context)):
        for one in _renewed(context):
            kept = one.kept
            if kept is None:
                raise StepFailed(f"{one.subject} has its old certificate: nobody renewed in time")
            if context.noted(f"renewed_{one.subject}") is None:
                while seconds_left(one.certificate) > before:
                    time.sleep(_HANDSHAKE_SECONDS)
                left = seconds_left(one.certificate)
                detail = f"{left:.1f} s before it ran out"
                context.check(f"renewed_in_time_{one.subject}", left > 0, detail)
            _replace(context, one, "renewed", _ttl_seconds(kept))
            short = (context.noted(f"short_{one.subject}") or {})["serial"]
            full = lifetime_seconds(one.certificate) >= lifetime_seconds(kept) - 1
            detail = f"{_serial(one.certificate)}, {lifetime_seconds(one.certificate):.0f} s valid"
            other = _serial(one.certificate) not in {short, _serial(kept)}
            context.require(f"renewed_{one.subject}", full and other, detail)


@verb()
def let_certificate_expire(context: Context) -> None:
    """Wait until one has run out: clients must refuse it, and the policy must find it."""
    one = _expiring(context)
    endpoint = tls_endpoint.endpoints(context.environment)[one.subject]
    with _watched(context, _renewed(context)):
        while seconds_left(one.certificate) > -_AFTER_EXPIRY_SECONDS:
            time.sleep(_HANDSHAKE_SECONDS)
        seen = verify(endpoint, context.environment.tls.ca_file)
        refused = not seen.chain and "expired" in seen.error
        context.require("expired_is_refused", refused, f"{one.subject}: {seen.error or 'accepted'}")
        error = _refusal_of_erp(context)
        context.require("client_refuses", "expired" in error, f"an ERP client: {error[-120:]}")
        status, reason = _judged(context, one.subject)
        context.require(
            "policy_finds_it", status == "not-satisfied", f"{_POLICY}: {status}, {reason}"
        )


@verb()
def heal_certificate(context: Context) -> None:
    """Renew the one that ran out: clients accept it again, and the policy is content."""
    one = _expiring(context)
    kept = one.kept
    if kept is None:
        raise StepFailed(f"{one.subject} has its old certificate: nobody renewed in time")
    with _watched(context, _renewed(context)):
        _replace(context, one, "renewed", _ttl_seconds(kept))
        error = _refusal_of_erp(context)
        context.require("client_accepts", not error, error[-120:] or "an ERP client got an answer")
        status, reason = _judged(context, one.subject)
        context.require(
            "policy_content", status == "satisfied", f"{_POLICY}: {status} {reason}".strip()
        )


def _replace(context: Context, one: ServerCertificate, name: str, ttl_seconds: int) -> None:
    """Replace a certificate once, and wait until the server presents it."""
    note = f"{name}_{one.subject}"
    if context.noted(note) is None:
        made = one.replace(context.provisioner, context.token, ttl_seconds=ttl_seconds)
        context.note(note, {"serial": _serial(made), "not_after": str(made.not_valid_after_utc)})
    _await_served(context, one, one.certificate)


def _await_served(context: Context, one: ServerCertificate, wanted: x509.Certificate) -> None:
    """Wait until the server presents this certificate, which a reload that was cut short may lack.

    Raises StepFailed when it does not in the step's time.
    """
    endpoint = tls_endpoint.endpoints(context.environment)[one.subject]

    def served() -> bool:
        try:
            now = session(endpoint)
        except InfrastructureError:
            return False
        return now is not None and _serial(x509.load_der_x509_certificate(now.certificate)) == (
            _serial(wanted)
        )

    context.await_until(f"certificate {_serial(wanted)} at {one.subject}", served)


def _ttl_seconds(like: x509.Certificate) -> int:
    """For how long to issue one that lives as long as this one."""
    return round(lifetime_seconds(like)) - _BACKDATED_SECONDS


def _judged(context: Context, subject: str) -> tuple[str, str]:
    """What the policy says of the subject now: status and reason."""
    environment = context.environment
    (collector,) = (
        one
        for one in tls_endpoint.collectors(environment, context.secrets)
        if one.subject == subject
    )
    facts = [observe(collector)]
    rules = rules_of(read_run_directory(context.directory))
    descriptor = json.loads((context.directory / "environment.json").read_text())
    findings = rederive_findings(rules, facts, descriptor, datetime.now(UTC))["findings"]
    for finding in findings:
        for seen in finding["observations"]:
            if (finding["policy"], seen["subject"]) == (_POLICY, subject):
                return str(seen["status"]), str(seen["reason"])
    raise StepFailed(f"no policy {_POLICY} judges {subject}")


def _refusal_of_erp(context: Context) -> str:
    """Why a client refuses the standby site's ERP; empty when it gets an answer."""
    erp = context.away.erp
    client = Erp(erp.url, erp.database, context.environment.tls.ca_file)
    try:
        client.version()
    except InfrastructureError as error:
        return error.what
    finally:
        client.close()
    return ""


@contextmanager
def _watched(context: Context, servers: list[ServerCertificate]) -> Iterator[None]:
    """Shake hands with the servers all the time, chain and name verified: none may be refused."""
    stop, seen, refused = threading.Event(), dict.fromkeys((s.subject for s in servers), 0), []
    places = tls_endpoint.endpoints(context.environment)

    def watch() -> None:
        while not stop.is_set():
            for subject in seen:
                try:
                    found = verify(places[subject], context.environment.tls.ca_file)
                    error = "" if found.chain and found.name else found.error
                except InfrastructureError as failure:
                    error = failure.what
                seen[subject] += 1
                if error:
                    refused.append(f"{subject}: {error}")
            stop.wait(_HANDSHAKE_SECONDS)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    detail = f"{len(refused)} of {sum(seen.values())} verified handshakes with {len(seen)} servers"
    detail += " failed" + "".join(f"; {one[:150]}" for one in refused[:3])
    ok = None if not all(seen.values()) else not refused
    context.check("handshakes_verified", ok, detail)


def _serial(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:x}"
