"""Whether the data files of a server are sound: pg_amcheck while it runs, pg_checksums when not."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from orchestrator.drivers.process import run
from orchestrator.model.errors import InfrastructureError

_TIMEOUT_SECONDS = 3600.0
_CORRUPTION_FOUND = 2


@dataclass(frozen=True)
class AmcheckResult:
    """What pg_amcheck said: each problem a line; sound when there is none."""

    problems: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether every table and index was found consistent."""
        return not self.problems


@dataclass(frozen=True)
class ChecksumResult:
    """What pg_checksums counted: files and blocks read, bad blocks, and where those are."""

    files: int
    blocks: int
    bad_blocks: int
    problems: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether blocks were read and none was bad (nothing read proves nothing)."""
        return self.blocks > 0 and self.bad_blocks == 0


def amcheck(
    bin_directory: Path, socket_directory: Path, port: int, database: str, service_user: str
) -> AmcheckResult:
    """Check every heap and B-tree of `database`, each heap row against its indexes.

    The superuser connects by the unix socket; the extension amcheck is installed if missing, so
    run it on a twin or a primary. Raises InfrastructureError when the check cannot be made.
    """
    finished = run(
        [
            bin_directory / "pg_amcheck",
            f"--host={socket_directory}",
            f"--port={port}",
            "--username=postgres",
            f"--database={database}",
            "--install-missing",
            "--heapallindexed",
            # One processor is left to whoever uses the database meanwhile.
            f"--jobs={max(1, (os.cpu_count() or 1) - 1)}",
        ],
        timeout_seconds=_TIMEOUT_SECONDS,
        as_user=service_user,
        accept=(0, _CORRUPTION_FOUND),
    )
    if finished.exit_code == 0:
        return AmcheckResult(())
    lines = [line.strip() for line in (finished.output + finished.errors).splitlines()]
    return AmcheckResult(tuple(filter(None, lines)) or ("pg_amcheck reported corruption",))


def checksums(bin_directory: Path, data_directory: Path, service_user: str) -> ChecksumResult:
    """Read every block of a stopped server and compare its checksum.

    Raises InfrastructureError when it cannot (a running server, checksums not enabled).
    """
    finished = run(
        [bin_directory / "pg_checksums", "--check", f"--pgdata={data_directory}"],
        timeout_seconds=_TIMEOUT_SECONDS,
        as_user=service_user,
        accept=(0, 1),
    )
    counts = {
        name: re.search(rf"{label}:\s+(\d+)", finished.output)
        for name, label in (
            ("files", "Files scanned"),
            ("blocks", "Blocks scanned"),
            ("bad", "Bad checksums"),
        )
    }
    files, blocks, bad = counts["files"], counts["blocks"], counts["bad"]
    if not (files and blocks and bad):
        raise InfrastructureError(
            f"pg_checksums did not check {data_directory}: {finished.errors.strip()}",
            "stop the server of that directory cleanly, then repeat",
        )
    return ChecksumResult(
        files=int(files[1]),
        blocks=int(blocks[1]),
        bad_blocks=int(bad[1]),
        problems=tuple(line for line in finished.errors.splitlines() if "failed" in line),
    )
