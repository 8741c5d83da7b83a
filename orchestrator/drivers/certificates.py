"""The certificates that servers present: replaced in their files, and taken by a reload.

Beside a certificate that a drill replaced lies the one from before (`….kept`), which `put_back`
brings back. The copy of the certificate itself is written last and removed first: while it is
there, all of them are whole.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from orchestrator.drivers.files import write_atomically
from orchestrator.drivers.host import Machine
from orchestrator.drivers.lease import LeaseFile
from orchestrator.drivers.secrets import Secrets
from orchestrator.model.environment import Environment
from orchestrator.model.errors import InfrastructureError


@dataclass(frozen=True)
class ServerCertificate:
    """A server's certificate files `prefix`.crt and .key; with `combined` also .pem, of both.

    `subject` is that of its facts, as `a/postgresql`. `reload` is the signal by which the server
    reads them again while its connections live on; None: it reads them when it starts.
    """

    subject: str
    machine: Machine
    program: str
    prefix: Path
    reload: signal.Signals | None
    combined: bool = False

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate in the file. Raises InfrastructureError."""
        return _read(self._file("crt"))

    def has_its_key(self) -> bool:
        """Whether the server would find the certificate's private key when it starts.

        A running one does not miss it. Raises InfrastructureError for what cannot be read.
        """
        wanted = self.certificate.public_key()
        for path in (path for path in self._files if path.suffix != ".crt"):
            try:
                key = load_pem_private_key(path.read_bytes(), password=None)
            except (OSError, ValueError, TypeError) as error:
                raise InfrastructureError(
                    f"cannot read the key in {path.name}: {type(error).__name__}",
                    "apply the server's role",
                ) from error
            if key.public_key() != wanted:
                return False
        return True

    @property
    def kept(self) -> x509.Certificate | None:
        """The one from before, while another is in its place."""
        path = self._copy(self._file("crt"))
        return _read(path) if path.exists() else None

    def replace(self, provisioner: Secrets, token: int, *, ttl_seconds: int) -> x509.Certificate:
        """Issue a new certificate for the same names and have the server take it; returns it.

        The first one that is replaced is kept. Raises Refused for a stale fencing token,
        InfrastructureError.
        """
        self.machine.check(token)
        now = self.certificate
        names = now.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
        common_name = str(now.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
        certificate, key = provisioner.issue(common_name, addresses, ttl_seconds=ttl_seconds)
        contents = {"key": key, "crt": certificate, "pem": certificate + key}
        with self._locked():
            self._keep()
            for path in self._files:
                self._write(path, contents[path.suffix[1:]].decode(), like=path)
            self._take()
            return self.certificate

    def put_back(self, token: int) -> bool:
        """Bring back the certificate from before; whether another was in its place."""
        self.machine.check(token)
        with self._locked():
            replaced = self.kept is not None
            if replaced:
                for path in self._files:
                    self._write(path, self._copy(path).read_text(), like=path)
                self._take()
            for path in reversed(self._files):
                self._copy(path).unlink(missing_ok=True)
        return replaced

    def _take(self) -> None:
        """Have the server read its files again; one that is down does when it starts."""
        if not (self.machine.is_running() and self.machine.program_status(self.program).is_up):
            return
        if self.reload is None:
            self.machine.program_restart(self.program)
        else:
            self.machine.supervisor.signal(self.program, self.reload)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time: a run, and the guard that outlives it."""
        folder = os.open(self.prefix.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    @property
    def _files(self) -> list[Path]:
        """The files in the order of writing: the certificate itself is the last."""
        return [self._file(end) for end in ("key", *(["pem"] if self.combined else []), "crt")]

    def _file(self, end: str) -> Path:
        return self.prefix.with_name(f"{self.prefix.name}.{end}")

    def _copy(self, path: Path) -> Path:
        return path.with_name(f"{path.name}.kept")

    def _keep(self) -> None:
        if self.kept is None:
            for path in self._files:
                self._write(self._copy(path), path.read_text(), like=path)

    def _write(self, path: Path, text: str, *, like: Path) -> None:
        state = like.stat()
        owner = pwd.getpwuid(state.st_uid).pw_name
        write_atomically(path, text, mode=state.st_mode & 0o777, owner=owner)


def server_certificates(environment: Environment) -> dict[str, ServerCertificate]:
    """The certificate of each server but the secret manager, by the subject of its facts."""
    lease = LeaseFile(environment.lease_file)
    door = environment.front_door
    found = [
        ServerCertificate(
            "common/front_door",
            Machine(door.machine, lease),
            door.program,
            door.machine.directory / "tls" / "frontdoor",
            signal.SIGUSR2,
            combined=True,
        )
    ]
    for name, site in environment.sites.items():
        machine, tls = Machine(site.machine, lease), site.machine.directory / "tls"
        for subject, program, reload in (
            ("postgresql", site.database.program, signal.SIGHUP),
            ("object_store", "objectstore", signal.SIGHUP),
            ("erp", site.erp.program, None),
        ):
            file = tls / subject.replace("_", "")
            found.append(ServerCertificate(f"{name}/{subject}", machine, program, file, reload))
    return {one.subject: one for one in found}


def lifetime_seconds(certificate: x509.Certificate) -> float:
    """How long it is valid in all."""
    valid = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return valid.total_seconds()


def seconds_left(certificate: x509.Certificate) -> float:
    """How long it is still valid; negative when it has run out."""
    return (certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds()


def _read(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InfrastructureError(
            f"cannot read the certificate {path}: {error}", "apply the server's role"
        ) from error
