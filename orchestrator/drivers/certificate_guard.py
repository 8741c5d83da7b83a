"""Puts certificates back that are about to run out: `python -m … DESCRIPTOR RUN SECONDS`.

A process of its own, so that no client meets a certificate that ran out when the orchestrator dies
between making it short-lived and renewing it. It works for RUN, whoever resumed that, and ends
after SECONDS or when the run gives the environment back.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from orchestrator.drivers.certificates import seconds_left, server_certificates
from orchestrator.drivers.lease import LeaseFile
from orchestrator.model.environment import load_environment

GUARD_SECONDS = 5.0
"""Who renews must have done it when a certificate has less than this left."""

_POLL_SECONDS = 0.5


def main() -> None:
    """Watch, and put back what is left too late."""
    environment, run_id = load_environment(Path(sys.argv[1])), sys.argv[2]
    lease = LeaseFile(environment.lease_file)
    until = time.monotonic() + float(sys.argv[3])
    while time.monotonic() < until and (held := lease.current()).run_id == run_id:
        for one in server_certificates(environment).values():
            if one.reload and one.kept and seconds_left(one.certificate) < GUARD_SECONDS:
                one.put_back(held.token)
        time.sleep(_POLL_SECONDS)


if __name__ == "__main__":
    main()
