"""Kind `audit_log`: whether each audit trail is on, really written, and how far back it goes.

Every subject has `probe_written` (an audited act of this collector was found in the log),
`probe`, `retention_days` (of the descriptor), `created_at`, `oldest_entry_at`,
`must_reach_back_to`, `uncovered_hours`, `size_bytes`.

- `a/postgresql`, …: also `role`, `pgaudit_loaded`, `classes`, `files`, `current_file`,
  `overwrites` (a rotation may overwrite a file), `unexplained_gaps` (days without a file after
  which the server did not start anew: files were removed).
- `common/secrets`: also `devices`, `file_device` (a device writes the descriptor's file),
  `grew_bytes`.
"""

from __future__ import annotations

from functools import partial

from orchestrator.collect import audit_log_database, audit_log_secrets
from orchestrator.collect.observe import Collector
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment

KIND = "audit_log"


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each site's server, one for the secret manager."""
    return [
        *(
            Collector(
                kind=KIND,
                subject=f"{name}/postgresql",
                source=f"{name}/postgresql, as postgres by the local socket",
                query=audit_log_database.QUERY,
                look=partial(audit_log_database.look, environment, site),
            )
            for name, site in environment.sites.items()
        ),
        Collector(
            kind=KIND,
            subject="common/secrets",
            source=f"common/secrets at {environment.secrets.url}, as AppRole orchestrator; its "
            f"file {environment.secrets.audit_log}",
            query=audit_log_secrets.QUERY,
            look=partial(audit_log_secrets.look, environment, secrets),
        ),
    ]
