"""Puts certificates back that are about to run out: `python -m … DESCRIPTOR TOKEN SECONDS`.

A process of its own, so that no client meets a certificate that ran out when the orchestrator dies
between making it short-lived and renewing it. It ends after SECONDS.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from orchestrator.drivers.certificates import seconds_left, server_certificates
from orchestrator.model.environment import load_environment

GUARD_SECONDS = 5.0
"""Who renews must have done it when a certificate has less than this left."""

_POLL_SECONDS = 0.5


def main() -> None:
    """Watch, and put back what is left too late. It ends with the lease: then a run took over."""
    environment, token = load_environment(Path(sys.argv[1])), int(sys.argv[2])
    until = time.monotonic() + float(sys.argv[3])
    while time.monotonic() < until:
        for one in server_certificates(environment).values():
            if one.reload and one.kept and seconds_left(one.certificate) < GUARD_SECONDS:
                one.put_back(token)
        time.sleep(_POLL_SECONDS)


if __name__ == "__main__":
    main()
