"""`anlan report` over a period: which period is meant, and where its report goes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from period_report_samples import SINCE, Maker, empty, record_of
from test_evidence_cli import anlan

from orchestrator.cli.report_period import Form, Wished, span_of, write_period
from orchestrator.evidence import EvidenceStore, LocalSigner
from orchestrator.evidence.period.verify import is_period
from orchestrator.model.errors import InfrastructureError, InputError
from orchestrator.report import render
from orchestrator.report.fonts import FOLDERS

NOW = datetime(2026, 12, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wished", "since", "until"),
    [
        (Wished(month="2026-11"), "2026-11-01", "2026-12-01"),
        (Wished(month="2025-12"), "2025-12-01", "2026-01-01"),
        (
            Wished(since="2026-07-01", until="2026-10-01"),
            "2026-07-01",
            "2026-10-01",
        ),
        (
            Wished(since="2026-07-01T08:00:00+08:00", until="2026-10-01"),
            "2026-07-01",
            "2026-10-01",
        ),
    ],
)
def test_a_period_begins_and_ends_in_utc(wished: Wished, since: str, until: str) -> None:
    begin, end = span_of(wished, NOW)
    assert (begin, end) == tuple(
        datetime.fromisoformat(f"{day}T00:00:00+00:00") for day in (since, until)
    )


@pytest.mark.parametrize(
    ("wished", "said"),
    [
        (Wished(month="2026-13"), "no month"),
        (Wished(month="2026-11", since="2026-11-01"), "period already"),
        (Wished(since="2026-11-01"), "not given"),
        (Wished(), "not given"),
        (Wished(since="yesterday", until="2026-11-01"), "no time"),
        (Wished(since="2026-11-01", until="2026-11-01"), "begins at"),
        (Wished(month="2026-12"), "not over"),
    ],
)
def test_what_is_no_period_is_refused(wished: Wished, said: str) -> None:
    with pytest.raises(InputError, match=said):
        span_of(wished, NOW)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--month", "2026-01"),
        ("--kind", "service"),
        ("--environment", "local"),
        ("backup-20261125t051500-0000", "--environment", "local"),
        ("backup-20261125t051500-0000", "--month", "2026-01"),
    ],
)
def test_options_that_do_not_go_together_are_bad_usage(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    done = anlan("report", *arguments, state=tmp_path)
    assert done.returncode == 2
    assert "→" in done.stderr


@pytest.mark.parametrize(
    ("kind", "form", "lang", "name"),
    [
        (None, "html", "en", "local-2026-10-01-2027-01-01.period.html"),
        ("service", "pdf", "zh", "local-2026-10-01-2027-01-01.service.zh.pdf"),
        ("service", "oscal", "en", "local-2026-10-01-2027-01-01.service.oscal.json"),
        (None, "json", "zh", "local-2026-10-01-2027-01-01.period.json"),
    ],
)
def test_a_report_has_the_name_of_its_period(
    *,
    kind: str | None,
    form: str,
    lang: str,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    written = write_period(empty, kind, Form(form, lang, None, FOLDERS), as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert (str(written), said["report"]) == (name, name)
    assert said["runs"] == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    out = tmp_path / "no" / "folder" / "report.html"
    (tmp_path / "no").write_text("a file")
    with pytest.raises(InfrastructureError, match="cannot be written"):
        write_period(empty, None, Form("html", "en", out, FOLDERS), as_json=False)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Any]:
    """A state directory with a schedule, three runs, and others that were due and are not there."""
    maker = Maker(tmp_path / "state", LocalSigner(Ed25519PrivateKey.generate()))
    store = EvidenceStore(maker.state, maker.signer, lambda: SINCE)
    store.record_schedule(record_of(SINCE))
    for day, name in ((2, "passed failover"), (9, "failed by loss"), (14, "passed backup")):
        maker.run(f"run-2026100{day}-x", SINCE.replace(day=day + 1, hour=3), name)
    return maker.state, EvidenceStore(maker.state, maker.signer)


def test_the_state_directory_and_a_period_bundle_give_the_same_report(
    made: tuple[Path, Any], tmp_path: Path
) -> None:
    state, store = made
    asked = ("report", "--environment", "local", "--month", "2026-10", "--format", "json")
    done = anlan(*asked, "--out", tmp_path / "mine.json", state=state)
    assert done.returncode == 0, done.stderr
    mine = json.loads((tmp_path / "mine.json").read_bytes())
    assert [run["verdict"] for run in mine["runs"]] == ["pass", "fail", "pass"]
    assert mine["due"]["missing"] > 0
    assert mine["programme"] == "fail"
    for run_dir in sorted((state / "runs").iterdir()):
        (run_dir / "report.html").write_text(render(run_dir))
        store.export(run_dir, state / "evidence/bundles" / f"{run_dir.name}.zip")
    bundle = tmp_path / "october.zip"
    store.export_period("local", SINCE, datetime(2026, 11, 1, tzinfo=UTC), bundle)
    assert is_period(bundle)
    done = anlan("report", bundle, "--format", "json", "--out", tmp_path / "theirs.json")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "theirs.json").read_bytes() == (tmp_path / "mine.json").read_bytes()


def test_a_file_that_is_no_archive_is_no_period(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK none")
    assert not is_period(tmp_path / "x.zip")
