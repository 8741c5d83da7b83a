"""The standalone verifier in an environment of its own, asked for many bundles by one process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrator.evidence import Expectation, Verification
from orchestrator.evidence.keys import public_key_pem
from orchestrator.verifier import build

# It imports from the archive alone: -I keeps everything else out, but for `cryptography`.
_DRIVER = """\
import contextlib, io, json, sys
sys.path.insert(0, sys.argv[1])
from orchestrator.cli import run
from orchestrator.cli.verify import verify
assert verify.callback.__code__.co_filename.startswith(sys.argv[1]), "not from the archive"
for line in sys.stdin:
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run(verify, json.loads(line), "anlan-verify")
        except SystemExit as ended:
            code = ended.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


def environment(folder: Path) -> Path:
    """Make a virtual environment with `cryptography` alone; returns its Python."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv makes the verifier's environment, and is not in PATH")
    venv = folder / "venv"
    python = venv / "bin" / "python"
    package = f"cryptography=={version('cryptography')}"
    subprocess.run([uv, "venv", "--quiet", venv], check=True, timeout=120)
    install = [uv, "pip", "install", "--quiet", "--python", python, package]
    offline = subprocess.run([*install, "--offline"], capture_output=True, timeout=120, check=False)
    if offline.returncode != 0:
        subprocess.run(install, check=True, timeout=300)
    return python


class Twin:
    """Verifies as `anlan-verify.pyz --json` does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "anlan-verify.pyz"
        self.file.write_bytes(build().content)
        self.python = environment(folder)
        self._process = subprocess.Popen(
            [self.python, "-I", "-c", _DRIVER, self.file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONUTF8": "1"},
        )

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(timeout=30) == 0

    def ask(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of a call."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        code, out, err = json.loads(self._process.stdout.readline())
        return code, out, err

    def agrees(
        self,
        packed: bytes,
        key: Ed25519PublicKey,
        expect: Expectation | None,
        threshold: int,
        found: Verification,
        *,
        trust: bytes | None = None,
    ) -> None:
        """Assert that it says of a bundle what was found, in its exit code and in every byte.

        With `trust`, a trust file, that takes the place of `key` and `threshold`.
        """
        (self.folder / "bundle.zip").write_bytes(packed)
        (self.folder / "evidence.pub").write_text(public_key_pem(key))
        arguments = ["bundle.zip", "--json"]
        if trust is None:
            arguments += ["--trust=evidence.pub", f"--threshold={threshold}"]
        else:
            (self.folder / "trust.json").write_bytes(trust)
            arguments.append("--trust=trust.json")
        if expect is not None:
            if expect.run_id:
                arguments.append(f"--run={expect.run_id}")
            if expect.environment:
                arguments.append(f"--environment={expect.environment}")
            if expect.not_before:
                arguments.append(f"--not-before={expect.not_before.isoformat()}")
            if expect.at:
                arguments.append(f"--at={expect.at.isoformat()}")
            if expect.approvals is not None:
                (self.folder / "rule.yaml").write_text(yaml.safe_dump(dict(expect.approvals)))
                arguments.append("--approvals=rule.yaml")
        code, out, err = self.ask(*arguments)
        said: dict[str, Any] = {"bundle": "bundle.zip", **found.to_json()}
        assert out == json.dumps(said, indent=2, ensure_ascii=False, default=str) + "\n"
        assert (code, err) == (0 if found.status == "VALID" else 1, "")
