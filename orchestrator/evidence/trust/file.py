"""The trust file (`anlan.trust/v1`): read strictly, and changed by one key at a time. Pure but for
`load`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from orchestrator.evidence.keys import key_id, load_public_key, parse_public_key
from orchestrator.evidence.persons import approvals
from orchestrator.evidence.trust.values import Thresholds, Trust, TrustedKey, Witness
from orchestrator.model.canonical import StrictJsonError, strict_loads
from orchestrator.model.errors import InputError
from orchestrator.model.fact import parse_timestamp
from orchestrator.model.schema import check

if TYPE_CHECKING:
    from orchestrator.evidence.timestamp.timestamps import Authority

SCHEMA = "anlan.trust/v1"
_TELL = "keep one of them"


def load(files: Sequence[Path], threshold: int | None = None) -> Trust:
    """Return the trust of one trust file, or of any number of public keys (PEM).

    `threshold`, if given, takes the place of how many orchestrator keys must have signed. Raises
    InputError.
    """
    contents = {file: _read(file) for file in files}
    documents = [file for file, content in contents.items() if _is_json(content)]
    if not documents:
        keys = [load_public_key(file) for file in contents]
        return Trust.of(keys, 1 if threshold is None else threshold)
    if len(contents) > 1:
        raise InputError(
            "a trust file is all of the trust, and something else was given beside it",
            "give the trust file alone; `anlan evidence trust add` puts a key into it",
            file=str(documents[0]),
        )
    if threshold is not None:
        raise InputError(
            "the trust file says how many keys must have signed",
            "leave the option out, or change `thresholds` in the file",
            file=str(documents[0]),
            path="--threshold",
        )
    return parse(contents[documents[0]], file=str(documents[0]))


def parse(content: bytes, *, file: str = "") -> Trust:
    """Return the trust that a file says. Raises InputError: what is wrong, where."""
    return trust_of(document(content, file=file), file=file)


def document(content: bytes, *, file: str = "") -> dict[str, Any]:
    """Return a trust file as JSON that fits its schema. Raises InputError."""
    try:
        data: dict[str, Any] = strict_loads(content)
    except StrictJsonError as error:
        todo = "correct it, or give the file that `anlan evidence trust init` made"
        raise InputError(f"not strict JSON: {error}", todo, file=file) from error
    check(data, "trust", file=file)
    return data


def trust_of(data: Mapping[str, Any], *, file: str = "") -> Trust:
    """Return the trust of a document that fits the schema. Raises InputError."""
    reader = _Reader(file)
    signers = tuple(reader.signer(one, f"$.keys[{n}]") for n, one in enumerate(data["keys"]))
    witnesses = tuple(
        reader.witness(one, f"$.witnesses[{n}]") for n, one in enumerate(data.get("witnesses", ()))
    )
    authorities = tuple(
        reader.authority(one, f"$.timestamp_authorities[{n}]")
        for n, one in enumerate(data.get("timestamp_authorities", ()))
    )
    parts = (signers, witnesses, authorities)
    reader.once("$", "name", (one.name for part in parts for one in part))
    reader.once("$.keys", "key", (one.id for one in signers))
    reader.once("$.witnesses", "key", (key_id(one.key) for one in witnesses))
    reader.once(
        "$.timestamp_authorities",
        "roots and intermediates",
        (_certificates_of(one) for one in authorities),
    )
    rule = data.get("approvals")
    if rule is not None:
        rule = approvals.check_rule(rule, file=file, path="$.approvals")
    trust = Trust(
        signers,
        Thresholds(**data.get("thresholds", {})),
        witnesses,
        authorities,
        frozenset(data.get("logs", ())),
        data.get("environment", ""),
        data.get("max_age_days"),
        rule,
    )
    _check_thresholds(trust, file)
    return trust


class _Reader:
    """Reads the parts of one file, so that errors say where."""

    def __init__(self, file: str) -> None:
        self.file = file

    def signer(self, one: Mapping[str, Any], path: str) -> TrustedKey:
        if "revoked_why" in one and "revoked_at" not in one:
            raise InputError(
                "says why the key was revoked, not when",
                "add revoked_at: the first moment when somebody else may have had it",
                file=self.file,
                path=path,
            )
        begins, ends = self.window(one, path)
        try:
            key = parse_public_key(one["public_key"].encode())
        except InputError as error:
            raise self.no_key(error, path) from error
        revoked = self.time(one, "revoked_at", path)
        why = one.get("revoked_why", "")
        return TrustedKey(one["name"], frozenset(one["roles"]), key, begins, ends, revoked, why)

    def witness(self, one: Mapping[str, Any], path: str) -> Witness:
        begins, ends = self.window(one, path)
        try:
            key = parse_public_key(one["public_key"].encode())
        except InputError as error:
            raise self.no_key(error, path) from error
        if not isinstance(key, Ed25519PublicKey):
            raise InputError(
                "the key of a witness is no Ed25519 key",
                "get the one that it cosigns with",
                file=self.file,
                path=f"{path}.public_key",
            )
        return Witness(one["name"], key, begins, ends)

    def authority(self, one: Mapping[str, Any], path: str) -> Authority:
        from orchestrator.evidence.timestamp import timestamps  # noqa: PLC0415  (certificates are slow)

        begins, ends = self.window(one, path)
        try:
            return timestamps.authority(
                one["name"],
                one["roots"].encode(),
                intermediates=one.get("intermediates", "").encode(),
                not_before=begins,
                not_after=ends,
            )
        except InputError as error:
            todo = "give the authority's certificates as it publishes them, in PEM"
            raise InputError(error.reason, todo, file=self.file, path=path) from error

    def window(self, one: Mapping[str, Any], path: str) -> tuple[datetime | None, datetime | None]:
        begins, ends = (self.time(one, name, path) for name in ("valid_from", "valid_until"))
        if begins and ends and ends < begins:
            raise InputError(
                "ends before it begins", "correct the times", file=self.file, path=path
            )
        return begins, ends

    def time(self, one: Mapping[str, Any], name: str, path: str) -> datetime | None:
        if name not in one:
            return None
        try:
            return parse_timestamp(one[name])
        except ValueError as error:
            raise InputError(
                f"{one[name]!r} is no time",
                "write it like 2026-10-01T08:00:00Z",
                file=self.file,
                path=f"{path}.{name}",
            ) from error

    def no_key(self, error: InputError, path: str) -> InputError:
        todo = "give the public key as PEM text: `openssl pkey -in KEY -pubout`"
        return InputError(error.reason, todo, file=self.file, path=f"{path}.public_key")

    def once(self, path: str, what: str, values: Iterable[str]) -> None:
        """Nobody may count twice, and a name must say who."""
        listed = list(values)
        if twice := next((one for one in listed if listed.count(one) > 1), None):
            message = f"two have the same {what}: {twice}"
            raise InputError(message, _TELL, file=self.file, path=path)


def _check_thresholds(trust: Trust, file: str) -> None:
    """Refuse what no evidence could ever meet: it would be noticed too late."""

    def few(path: str, wanted: int, there: int, what: str) -> InputError:
        return InputError(
            f"asks for {wanted} of {there} {what}: that can never be met",
            "add what is missing, or ask for fewer",
            file=file,
            path=path,
        )

    for role in ("orchestrator", "log", "operator", "approver", "verifier"):
        wanted = 1 if role == "log" else getattr(trust.thresholds, role)
        there = sum(role in one.roles for one in trust.signers)
        if wanted > there:
            path = "$.keys" if role == "log" else f"$.thresholds.{role}"
            raise few(path, wanted, there, f"keys with the role {role}")
    for path, wanted, there, what in (
        ("witnesses", trust.thresholds.witnesses, len(trust.witnesses), "witnesses"),
        ("timestamps", trust.thresholds.timestamps, len(trust.authorities), "authorities"),
    ):
        if wanted > there:
            raise few(f"$.thresholds.{path}", wanted, there, what)


def _certificates_of(authority: Authority) -> str:
    """Whose certificates, to tell one authority under two names."""
    every = authority.roots + authority.intermediates
    return " ".join(sorted(one.fingerprint(SHA256()).hex() for one in every))


def _is_json(content: bytes) -> bool:
    return content.lstrip()[:1] == b"{"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the trust key or file: {error.strerror}",
            "get evidence.pub from the environment's owner over a way you trust",
            file=str(file),
        ) from error
