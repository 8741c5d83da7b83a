"""From a drill to an auditor who trusts nobody: witnessed, timestamped, whole, restored."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model.environment import Environment
from tests.commands import CHECKOUT, QUICK, anlan
from tests.unit import authorities

AUDITOR, SECOND_SITE, AUTHORITY = "auditor.example/w1", "site-b.example/w2", "tsa.example"
SCHEDULE = """\
schema: anlan.schedule/v1
title: {en: Once a year, zh: 每年一次}
entries:
  - {id: yearly, drill: backup, cron: "0 4 1 1 *", start_within_minutes: 60}
"""


@dataclass
class Office:
    """An operator's state directory, and what an auditor holds beside it."""

    state: Path
    environment: Environment
    http: Path
    address: str = "127.0.0.1:0"
    runs: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.state.parent

    @property
    def trust(self) -> Path:
        return self.folder / "trust.json"

    def answer(self, *arguments: str | Path, code: int = 0, state: Path | None = None) -> Any:
        """What a command says in JSON."""
        done = anlan(state or self.state, *map(str, arguments), "--json")
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def drill(self) -> str:
        """Run a quick drill to a pass; returns its id, and keeps it."""
        name = self.environment.name
        asked = anlan(self.state, "drill", "run", str(self.folder / "quick.yaml"), name, "--json")
        # 1: an environment without a backup, say, does not satisfy every policy.
        assert asked.returncode in {0, 1}, asked.stderr
        done = json.loads(asked.stdout)
        assert done["verdict"] == "pass"
        self.runs.append(str(done["run_id"]))
        return self.runs[-1]

    def verify(self, bundle: Path, trust: Path | None = None, *, code: int = 0) -> Any:
        return self.answer("evidence", "verify", bundle, "--trust", trust or self.trust, code=code)

    def bundle(self, run: str) -> Path:
        return self.state / "evidence" / "bundles" / f"{run}.zip"

    @contextmanager
    def witness(self) -> Iterator[None]:
        """The auditor's witness over HTTP, a process of its own, at the same address each time."""
        command = [sys.executable, "-m", "orchestrator", "witness", "serve", str(self.http)]
        with subprocess.Popen(
            [*command, "--listen", self.address], cwd=CHECKOUT, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr
            try:
                found = re.search(r"127\.0\.0\.1:\d+", process.stderr.readline())
                assert found
                self.address = found[0]
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=30)
            assert process.returncode == 0


@pytest.fixture(scope="module")
def office(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """A state directory with a log that two witnesses and a timestamp authority vouch for."""
    folder = tmp_path_factory.mktemp("chain")
    made = Office(folder / "state", environment, folder / "w1")
    (folder / "quick.yaml").write_text(QUICK)
    (folder / "schedule.yaml").write_text(SCHEDULE)
    name, place = environment.name, made.state / "env" / environment.name
    place.mkdir(parents=True)
    tsa = authorities.make(folder / "tsa")

    def stamp(query: bytes) -> tuple[int, str, Iterator[bytes]]:
        return 200, "application/timestamp-reply", iter([tsa.reply(query)])

    with authorities.served(stamp) as url:
        keys = {
            one: made.answer("witness", "init", where, "--name", one)["public_key"]
            for one, where in ((AUDITOR, made.http), (SECOND_SITE, folder / "w2"))
        }
        with made.witness():
            pass  # to know its address
        urls = {AUDITOR: f"http://{made.address}", SECOND_SITE: f"file://{folder / 'w2'}"}
        descriptor = json.loads((environment.root / "environment.json").read_text())
        descriptor["evidence"] = {
            "schema": "anlan.evidence-settings/v1",
            "witnesses": [{"name": w, "url": urls[w], "public_key": keys[w]} for w in urls],
            "timestamp_authorities": [
                {
                    "name": AUTHORITY,
                    "url": url,
                    "roots": tsa.pem("root").decode(),
                    "intermediates": tsa.pem("between").decode(),
                }
            ],
        }
        (place / "environment.json").write_text(json.dumps(descriptor))
        with made.witness():
            # The log begins with the schedule; witnesses are told of it, and vouch from now on.
            made.answer("schedule", "apply", folder / "schedule.yaml", name)
            head = anlan(made.state, "evidence", "log", "checkpoint", name).stdout
            origin, key = head.splitlines()[0], environment.evidence_public_key
            for where in (made.http, folder / "w2"):
                made.answer("witness", "trust", where, origin, key)
            made.answer("evidence", "log", "cosign", name)
            made.answer("evidence", "trust", "init", name, "--out", made.trust)
            (folder / "last.txt").write_text(head)
            made.drill()
        yield made


@pytest.fixture(scope="module")
def unwitnessed(office: Office) -> str:
    """A run while the auditor's witness is down."""
    return office.drill()


def test_a_drill_is_vouched_for_before_and_after_it(office: Office) -> None:
    found = office.verify(office.bundle(office.runs[0]))
    assert (found["status"], found["problems"]) == ("VALID", [])
    trust = json.loads(office.trust.read_text())
    assert trust["thresholds"]["witnesses"] == 2
    assert trust["thresholds"]["timestamps"] == 1
    assert found["summary"]["existed_by"] is not None


def test_a_witness_that_is_down_stops_no_drill_and_its_word_is_missed(
    office: Office, unwitnessed: str
) -> None:
    found = office.verify(office.bundle(unwitnessed), code=1)
    assert found["status"] == "UNTRUSTED"
    assert {one["code"] for one in found["problems"]} == {"witness-quorum"}
    one_is_enough = json.loads(office.trust.read_text())
    one_is_enough["thresholds"]["witnesses"] = 1
    (office.folder / "one.json").write_text(json.dumps(one_is_enough))
    found = office.verify(office.bundle(unwitnessed), office.folder / "one.json")
    assert found["status"] == "VALID"


def test_a_period_is_handed_over_whole(office: Office, unwitnessed: str) -> None:
    name, now = office.environment.name, datetime.now(UTC)
    with office.witness():
        office.answer("evidence", "log", "cosign", name)
    begin, end = (moment.isoformat() for moment in (now - timedelta(days=1), now))
    file = office.folder / "period.zip"
    span = ("--environment", name, "--from", begin, "--to", end)
    office.answer("evidence", "export", *span, "--out", file)
    kept = ("--checkpoint", office.folder / "last.txt")
    found = office.answer(
        *("evidence", "verify", file, "--trust", office.folder / "one.json"), *span, *kept
    )
    assert (found["status"], found["problems"]) == ("VALID", [])
    assert {one["run_id"] for one in found["summary"]["runs"]} == {office.runs[0], unwitnessed}
    for kind in ("period", "service"):
        report = office.folder / f"{kind}.pdf"
        office.answer("report", file, "--kind", kind, "--format", "pdf", "--out", report)
        assert report.read_bytes().startswith(b"%PDF-")


def test_the_evidence_comes_back_from_the_sites_after_the_operators_machine_is_lost(
    office: Office, unwitnessed: str
) -> None:
    name = office.environment.name
    log_id = office.trust.read_text().split(f"anlan.dev/log/{name}/")[1][:16]
    copy = office.folder / "copy"
    shutil.copytree(office.state / "env", copy / "env")
    office.answer("evidence", "log", "mirror", name)
    office.answer("evidence", "restore", name, "--log", log_id, state=copy)
    (found,) = office.answer(
        "evidence", "log", "verify", name, "--trust", office.folder / "one.json", state=copy
    )
    assert (found["status"], found["problems"]) == ("VALID", [])
    for run in (office.runs[0], unwitnessed):
        restored = copy / "evidence" / "bundles" / f"{run}.zip"
        assert restored.read_bytes() == office.bundle(run).read_bytes()
