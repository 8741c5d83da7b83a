"""Kind `backup_settings`: how the pgBackRest of each site is told to keep backups.

Data: `repositories` (each with `number`, `place` (host:port), `type`, `cipher`, `full_backups`
(how many are kept; null: none ever expires), `archive_full_backups` (over how many of them the log
is kept; null: over all), `verifies_tls`), `places` (all of them, each once), `asynchronous`.
"""

from __future__ import annotations

import configparser
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.collect.observe import Collector, Observation
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError

KIND = "backup_settings"


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each site; the secret manager is not needed."""
    return [
        Collector(
            kind=KIND,
            subject=f"{name}/pgbackrest",
            source=f"{site.backup.config_file}",
            query="the options of [global] that hold no secret",
            look=partial(look, site.backup.config_file),
        )
        for name, site in environment.sites.items()
    ]


def look(file: Path) -> Observation:
    """Read a site's file. Raises OSError, InfrastructureError."""
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",))
    try:
        parser.read_string(file.read_text())
        options = dict(parser["global"])
    except (configparser.Error, KeyError) as error:
        # Its own words could quote a line that holds a secret.
        raise InfrastructureError(
            f"{file} is no file of pgBackRest: {type(error).__name__}",
            "apply the role `pgbackrest`",
        ) from None
    numbers = sorted({int(name[4:].split("-")[0]) for name in options if _is_repository(name)})
    repositories = [_repository(number, options) for number in numbers]
    data: dict[str, Any] = {
        "repositories": repositories,
        "places": sorted({one["place"] for one in repositories}),
        "asynchronous": options.get("archive-async", "n") == "y",
    }
    return Observation(data, len(options))


def _is_repository(name: str) -> bool:
    return name.startswith("repo") and name[4:].split("-", maxsplit=1)[0].isdigit()


def _repository(number: int, options: dict[str, str]) -> dict[str, Any]:
    """What the file says of a repository; pgBackRest's own defaults where it says nothing."""

    def option(name: str, default: str = "") -> str:
        return options.get(f"repo{number}-{name}", default)

    def count(name: str) -> int | None:
        return int(option(name)) if option(name) else None

    host = option("storage-host") or option("s3-endpoint") or option("path")
    return {
        "number": number,
        "place": f"{host}:{option('storage-port', '443')}",
        "type": option("type", "posix"),
        "cipher": option("cipher-type", "none"),
        "full_backups": count("retention-full"),
        "archive_full_backups": count("retention-archive"),
        "verifies_tls": option("storage-verify-tls", "y") == "y",
    }
