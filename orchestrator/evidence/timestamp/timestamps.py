"""RFC 3161 timestamps: somebody else's word that a digest existed at a time. Pure.

Who is believed comes from the auditor, never from the token. A token is kept in a reduced form
(`tokens`): all that it may bring along is the signer's certificate, which its signature names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from orchestrator.evidence.timestamp import der, tokens
from orchestrator.evidence.timestamp.tokens import Token
from orchestrator.model.errors import InputError

Code = Literal[
    "timestamp-malformed", "timestamp-mismatch", "timestamp-untrusted", "timestamp-expired"
]
# An authority's certificates are not those of web servers: only what makes a chain is asked of
# them here (signatures, times, that issuers may issue), and of the signer's its use by `tokens`.
_AUTHORITIES = ExtensionPolicy.permit_all().require_present(
    x509.BasicConstraints, Criticality.AGNOSTIC, None
)
_SIGNERS = ExtensionPolicy.permit_all()
_STATUS = ("granted", "granted with modifications", "rejection", "waiting")
_FAILURES = {
    0: "unknown algorithm",
    2: "bad request",
    5: "bad data format",
    14: "its time source is not available",
    15: "unknown policy",
    16: "unknown extension",
    17: "additional information is not available",
    25: "system failure",
}


class TimestampError(ValueError):
    """A token that proves nothing; `code` names why."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code: Code = code


@dataclass(frozen=True)
class Authority:
    """A timestamp authority that the auditor believes, for times from `not_before` to `not_after`.

    `roots` are its trust anchors; `intermediates` lead from its certificate to them; with `tsa`
    that certificate alone may sign, otherwise any for timestamps that the roots vouch for.
    """

    name: str
    roots: tuple[x509.Certificate, ...]
    intermediates: tuple[x509.Certificate, ...] = ()
    tsa: x509.Certificate | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None


@dataclass(frozen=True)
class Timestamp:
    """A verified timestamp: `time` is aware UTC, true within `accuracy_seconds` if it says so."""

    time: datetime
    accuracy_seconds: float | None
    serial: int
    authority: str


def authority(
    name: str,
    roots: bytes,
    *,
    intermediates: bytes = b"",
    tsa: bytes = b"",
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> Authority:
    """Return the authority of PEM texts, each with any number of certificates (`tsa`: one).

    Raises InputError.
    """
    found = _certificates(roots, f"roots of {name}")
    one = _certificates(tsa, f"certificate of {name}") if tsa else ()
    between = _certificates(intermediates, f"intermediates of {name}") if intermediates else ()
    if len(one) > 1:
        raise InputError(f"{len(one)} certificates, not one", path=f"certificate of {name}")
    return Authority(name, found, between, one[0] if one else None, not_before, not_after)


def request(digest: bytes, nonce: int) -> bytes:
    """Return the TimeStampReq (DER, RFC 3161 2.4.1) for a SHA-256 digest; asks for certificates."""
    if len(digest) != 32 or nonce < 0:
        raise ValueError("a SHA-256 digest has 32 bytes, and a nonce is not negative")
    algorithm = der.write(der.SEQUENCE, tokens.SHA256, der.NULL)
    imprint = der.write(der.SEQUENCE, algorithm, der.write(der.OCTET_STRING, digest))
    certificates = der.write(der.BOOLEAN, b"\xff")
    return der.write(der.SEQUENCE, der.write_int(1), imprint, der.write_int(nonce), certificates)


def token_of(response: bytes) -> bytes:
    """Return the token of a TimeStampResp (DER, RFC 3161 2.4.2), reduced and not verified.

    Raises TimestampError when it is none, or says in it why the authority gave no token.
    """
    if len(response) > 2 * tokens.MAX_BYTES:
        raise TimestampError("timestamp-malformed", f"a response of {len(response)} bytes")
    try:
        status, *rest = der.members(der.read(response), der.SEQUENCE)
        number, *why = der.members(status, der.SEQUENCE)
        granted = der.to_int(number) in (0, 1)
        if granted and len(rest) == 1:
            return tokens.reduced(rest[0].encoded)
        said = _refusal(der.to_int(number), why)
    except ValueError as error:
        raise TimestampError("timestamp-malformed", f"not a timestamp response: {error}") from error
    raise TimestampError("timestamp-malformed", f"the authority gave no token: {said}")


def verify(
    token: bytes, digest: bytes, authorities: Sequence[Authority], *, nonce: int | None = None
) -> Timestamp:
    """Return the timestamp of a TimeStampToken (DER) over a SHA-256 digest, fully verified.

    That is: its form (`tokens`), that it is about `digest` and answers `nonce` if one is given, the
    signature, a chain from the signer's certificate to the roots of one of the authorities that was
    valid at the time, and that certificate's use for timestamps alone. Raises TimestampError.
    """
    try:
        parsed = tokens.parse(token)
    except ValueError as error:
        raise TimestampError("timestamp-malformed", f"the timestamp token {error}") from error
    info = parsed.info
    if info.digest != digest:
        raise TimestampError("timestamp-mismatch", f"is about {info.digest.hex()}")
    if nonce is not None and info.nonce != nonce:
        raise TimestampError("timestamp-mismatch", "answers another request: the nonce differs")
    refused: list[TimestampError] = []
    for one in authorities:
        try:
            _vouched(parsed, one)
        except TimestampError as error:
            refused.append(error)
            continue
        return Timestamp(info.time, info.accuracy_seconds, info.serial, one.name)
    reasons = "; ".join(str(error) for error in refused) or "no authority is trusted"
    expired = any(error.code == "timestamp-expired" for error in refused)
    raise TimestampError("timestamp-expired" if expired else "timestamp-untrusted", reasons)


def _vouched(parsed: Token, by: Authority) -> None:
    """Raises TimestampError when the authority does not vouch for the token."""

    def no(message: str, code: Code = "timestamp-untrusted") -> TimestampError:
        return TimestampError(code, f"{by.name}: {message}")

    time = parsed.info.time
    try:
        certificate = tokens.certificate_of(parsed, by.tsa)
    except ValueError as error:
        raise no(f"the token {error}") from error
    if not certificate.not_valid_before_utc <= time <= certificate.not_valid_after_utc:
        if not any(_issued(certificate, issuer) for issuer in (*by.roots, *by.intermediates)):
            raise no("did not issue the signer's certificate")
        raise no(f"the signer's certificate was not valid at {time}", "timestamp-expired")
    if not tokens.holds(parsed, certificate):
        raise no("the signature is not of the signer's key")
    try:
        chains = PolicyBuilder().store(Store(list(by.roots))).time(time)
        chains = chains.extension_policies(ca_policy=_AUTHORITIES, ee_policy=_SIGNERS)
        chains.build_client_verifier().verify(certificate, list(by.intermediates))
    except (VerificationError, ValueError) as error:
        raise no(f"its roots do not vouch for the signer: {error}") from error
    early = by.not_before is not None and time < by.not_before
    if early or (by.not_after is not None and time > by.not_after):
        raise no(f"is not trusted at {time}", "timestamp-expired")


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _certificates(pem: bytes, path: str) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise InputError(f"not PEM certificates: {error}", path=path) from error


def _refusal(status: int, why: Sequence[der.Element]) -> str:
    """The status of a response in words, with the authority's own and its failure information."""
    words = [_STATUS[status] if 0 <= status < len(_STATUS) else f"status {status}"]
    for one in why:
        if one.tag == der.SEQUENCE:
            words += [
                text.content.decode("utf-8", "replace")[:200]
                for text in der.members(one, der.SEQUENCE)
            ]
        elif one.tag == der.BIT_STRING:
            bits = one.content[1:]
            words += [
                text
                for bit, text in _FAILURES.items()
                if bit // 8 < len(bits) and bits[bit // 8] & (0x80 >> bit % 8)
            ]
    return ", ".join(words)
