"""The secret manager's audit trail: a file device whose lines are JSON, one for each message."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from orchestrator.collect.log_coverage import Coverage
from orchestrator.collect.observe import Observation, asked
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from orchestrator.model.fact import parse_timestamp

QUERY = (
    "GET sys/audit, whose own request id is then looked for in the audit file; the file's first "
    "line; the environment's CA certificate, made when the audit device was enabled"
)
_PROBE_SECONDS = 5.0


def look(environment: Environment, secrets: Secrets) -> Observation:
    """Ask for the devices, and find that question in the log.

    Raises InfrastructureError, OSError.
    """
    file = environment.secrets.audit_log
    before = file.stat().st_size
    answer = asked(
        secrets, "list the audit devices", lambda client: client.sys.list_enabled_audit_devices()
    )
    devices = {
        path: {"type": device["type"], "file_path": device["options"].get("file_path", "")}
        for path, device in answer["data"].items()
    }
    written = _await_entry(file, before, str(answer["request_id"]))
    now = datetime.now(UTC)
    coverage = Coverage(
        _created(environment.tls.ca_file), _first_entry(file), environment.retention.audit_days
    )
    size = file.stat().st_size
    data = {
        "devices": [{"path": path, **device} for path, device in sorted(devices.items())],
        "file_device": any(
            device["type"] == "file" and device["file_path"] == str(file)
            for device in devices.values()
        ),
        "probe": f"GET sys/audit, request {answer['request_id']}",
        "probe_written": written,
        "grew_bytes": size - before,
        "size_bytes": size,
        **coverage.to_data(now),
    }
    return Observation(data, len(devices))


def _await_entry(file: Path, offset: int, request: str) -> bool:
    """Whether the file gets a line with this request id."""
    deadline = time.monotonic() + _PROBE_SECONDS
    while True:
        with file.open("rb") as stream:
            stream.seek(offset)
            if any(_request_of(line) == request for line in stream):
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)


def _request_of(line: bytes) -> str:
    try:
        return str(json.loads(line)["request"]["id"])
    except (ValueError, KeyError, TypeError):
        return ""  # half a line, or an entry about no request


def _first_entry(file: Path) -> datetime | None:
    with file.open("rb") as stream:
        line = stream.readline()
    try:
        # Nanoseconds are more than a Python time holds.
        moment, _, fraction = str(json.loads(line)["time"]).removesuffix("Z").partition(".")
        return parse_timestamp(f"{moment}.{fraction[:6] or '0'}+00:00")
    except (ValueError, KeyError, TypeError):
        return None


def _created(ca_file: Path) -> datetime:
    """When the PKI's root was made: right after the audit device was enabled (role `secrets`)."""
    return x509.load_pem_x509_certificate(ca_file.read_bytes()).not_valid_before_utc
