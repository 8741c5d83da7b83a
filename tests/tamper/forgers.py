"""One good bundle, and what forgers of three strengths can do to it.

- an outsider edits files and packs them again (`pack`);
- an insider without the environment's key signs everything with a key of his own (`seal`);
- a thief holds the environment's key: he signs what he likes (`seal` with the good key), but cannot
  change what was logged before the run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import currently_in_test_context
from run_samples import REDERIVE, Clock, Sample, record, write_plan, write_result

from orchestrator.evidence import (
    EvidenceStore,
    Expectation,
    LocalSigner,
    Trust,
    Verification,
    bundle,
    dsse,
    layout,
    statement,
    verify,
)
from orchestrator.evidence.trust import file as trust_file
from orchestrator.model.canonical import canonical, sha256
from orchestrator.report import render
from tests.standalone import Twin

ALL = os.environ.get("ANLAN_TAMPER") == "all"
"""Whether every byte is flipped, and every random case put to the standalone verifier too."""
TWINS: list[Twin] = []
"""The standalone verifier, which must say the same of every bundle; none where it cannot run."""
SAMPLE = Sample(run_id="20261125-failover-good")
FAILED = Sample(
    run_id="20261125-failover-fail",
    lost=4,
    weak_tls=True,
    started_at=SAMPLE.started_at + timedelta(hours=1),
)


@dataclass(frozen=True)
class Good:
    """A bundle's files and the key that its auditor trusts."""

    contents: dict[str, bytes]
    signer: LocalSigner
    packed: bytes
    state: Path

    def check(
        self, packed: bytes, expect: Expectation | None = None, threshold: int = 1
    ) -> Verification:
        key = self.signer.public_key
        found = verify(packed, Trust.of([key], threshold), REDERIVE, expect=expect)
        # Of the random ones a few hundred: each is asked twice.
        if TWINS and (ALL or not currently_in_test_context()):
            TWINS[0].agrees(packed, key, expect, threshold, found)
        return found

    def check_by(
        self, packed: bytes, trust: dict[str, Any], expect: Expectation | None = None
    ) -> Verification:
        """What a trust file leads to, by both verifiers."""
        content = json.dumps(trust).encode()
        found = verify(packed, trust_file.parse(content), REDERIVE, expect=expect)
        if TWINS:
            TWINS[0].agrees(packed, self.signer.public_key, expect, 1, found, trust=content)
        return found

    def pack(self, **edits: bytes | None) -> bytes:
        """The archive with files replaced (None: left out), without any new signature."""
        return bundle.archive(self.edited(edits))

    def edited(self, edits: dict[str, bytes | None]) -> dict[str, bytes]:
        merged = {**self.contents, **edits}
        return {path: content for path, content in merged.items() if content is not None}

    def seal(self, edits: dict[str, bytes | None], signer: LocalSigner | None = None) -> bytes:
        """The archive with files replaced and a manifest that is validly signed for them."""
        own = {layout.MANIFEST, layout.MANIFEST_ENVELOPE}
        files = {p: c for p, c in self.edited(edits).items() if p not in own}
        manifest = json.loads(self.contents[layout.MANIFEST])
        manifest["files"] = [
            {"path": path, "size_bytes": len(content), "sha256": sha256(content)}
            for path, content in sorted(files.items())
        ]
        listed = canonical(manifest)
        envelope = dsse.sign(listed, bundle.MANIFEST_TYPE, signer or self.signer).to_bytes()
        own_files = {layout.MANIFEST: listed, layout.MANIFEST_ENVELOPE: envelope}
        return bundle.archive({**files, **own_files})

    def statement(
        self, kind: str, change: Callable[[dict[str, Any]], Any], signer: LocalSigner | None = None
    ) -> bytes:
        """An envelope over the changed statement of this kind, validly signed."""
        envelope = dsse.parse(self.contents[statement.FILES[kind]])
        data = json.loads(envelope.payload)
        payload = canonical(change(data) or data)
        signed = dsse.sign(payload, statement.PAYLOAD_TYPE, signer or self.signer)
        return signed.to_bytes()


def build(
    state: Path,
    sample: Sample,
    signer: LocalSigner,
    meddle: Callable[[Path], None] | None = None,
    prepare: Callable[[Path], None] | None = None,
) -> Good:
    """Record a run and pack its bundle.

    `prepare` adds to its plan, `meddle` changes its result, each before it is signed.
    """
    if meddle is None and prepare is None:
        run_dir = record(state, sample, signer)
    else:
        clock = Clock(sample.started_at - timedelta(milliseconds=500))
        store = EvidenceStore(state, signer, clock)
        run_dir = state / "runs" / sample.run_id
        write_plan(run_dir, sample)
        if prepare:
            prepare(run_dir)
        store.record_plan(run_dir)
        write_result(run_dir, sample)
        if meddle:
            meddle(run_dir)
        clock.now = sample.started_at + timedelta(minutes=5)
        store.record_run(run_dir)
    (run_dir / "report.html").write_text(render(run_dir))
    packed = EvidenceStore(state, signer).export(run_dir, state / "bundle.zip").read_bytes()
    return Good(bundle.unpack(packed), signer, packed, state)
