"""The form of an RFC 3161 timestamp token: which bytes it may have that its signature leaves out.

A token is a CMS SignedData around a TSTInfo. Its signature covers the TSTInfo and the signed
attributes; version numbers, algorithm identifiers, the signer's name and the certificates are
outside of it, and verifiers pass over most of them. Here each of them must be what the signed part
says, and what it says nothing about is left out (`reduced`), so that no byte of a token can be
changed unnoticed. Sources: RFC 3161 2.4.2, RFC 5652 5, RFC 5035 (ESSCertIDv2), RFC 5816.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from orchestrator.evidence.timestamp import der
from orchestrator.evidence.timestamp.der import DerError, Element

MAX_BYTES = 65_536


def _oid(text: str) -> bytes:
    """An OBJECT IDENTIFIER, from its hex digits."""
    return der.write(der.OID, bytes.fromhex(text))


SHA256 = _oid("608648016503040201")
_DIGESTS = {
    SHA256: "sha256",
    _oid("608648016503040202"): "sha384",
    _oid("608648016503040203"): "sha512",
}
_HASHES: dict[str, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
_RSA = _oid("2a864886f70d010101")
_RSA_WITH = {"sha256": "0b", "sha384": "0c", "sha512": "0d"}
_ECDSA_WITH = {"sha256": "02", "sha384": "03", "sha512": "04"}
_SIGNED_DATA = _oid("2a864886f70d010702")
_TST_INFO = _oid("2a864886f70d0109100104")
_CONTENT_TYPE = _oid("2a864886f70d010903")
_MESSAGE_DIGEST = _oid("2a864886f70d010904")
_SIGNING_CERTIFICATE = _oid("2a864886f70d010910020c")
_SIGNING_CERTIFICATE_V2 = _oid("2a864886f70d010910022f")
_TIME = re.compile(rb"(\d{14})(?:\.(\d*[1-9]))?Z")


@dataclass(frozen=True)
class Info:
    """What a token says: the digest, when (aware UTC), how exactly, its number and the nonce."""

    digest: bytes
    time: datetime
    accuracy_seconds: float | None
    serial: int
    nonce: int | None


@dataclass(frozen=True)
class Token:
    """A token in the form that is accepted; nothing of it is verified yet.

    `certificate` (DER) is the signer's, if it is there; `signer` the issuer and serial number that
    it must have, and `certificate_digest` its digest (algorithm, value) by the signed attributes.
    `signature` is over `attributes`: the signed ones, as the SET that is signed (RFC 5652 5.4).
    """

    info: Info
    certificate: bytes | None
    signer: bytes
    certificate_digest: tuple[str, bytes]
    digest_algorithm: str
    signature_algorithm: bytes
    attributes: bytes
    signature: bytes


def reduced(token: bytes) -> bytes:
    """Return a token without what nobody signed and nobody needs. Raises DerError.

    Other certificates than the signer's, revocation lists and unsigned attributes are left out: a
    verifier has its own certificates, and OpenSSL writes those of a token in an order that is not
    DER's, so that not every verifier reads it.
    """
    kind, wrapped = _exactly(_read(token), der.SEQUENCE, 2)
    (signed,) = _exactly(wrapped, der.context(0), 1)
    *parts, signers = der.members(signed, der.SEQUENCE)
    (signer,) = _exactly(signers, der.SET, 1)
    fields = der.members(signer, der.SEQUENCE)
    certificates = [
        one.encoded
        for part in parts[3:]
        if part.tag == der.context(0)
        for one in der.members(part, der.context(0))
        if len(fields) > 1 and _names(one.encoded) == fields[1].content
    ]
    kept = [one.encoded for one in parts[:3]]
    if certificates:
        kept.append(der.write(der.context(0), certificates[0]))
    one = der.write(der.SEQUENCE, *(field.encoded for field in fields[:6]))
    whole = der.write(der.SEQUENCE, *kept, der.write(der.SET, one))
    return der.write(der.SEQUENCE, kind.encoded, der.write(der.context(0), whole))


def parse(token: bytes) -> Token:
    """Return the parts of a token. Raises DerError when it is in another form."""
    kind, wrapped = _exactly(_read(token), der.SEQUENCE, 2)
    _same(kind, _SIGNED_DATA, "is no signed data")
    (signed,) = _exactly(wrapped, der.context(0), 1)
    version, algorithms, content, *brought, signers = der.members(signed, der.SEQUENCE)
    _same(version, der.write_int(3), "has another version of signed data than 3")
    certificate = None
    if brought:
        (one,) = _exactly(brought[0], der.context(0), 1)
        certificate = one.encoded
    if len(brought) > 1:
        raise DerError("has revocation lists")
    (signer,) = _exactly(signers, der.SET, 1)
    (algorithm,) = _exactly(algorithms, der.SET, 1)
    return _signed(signer, algorithm, _encapsulated(content), certificate)


def _signed(
    signer: Element, algorithm: Element, content: bytes, certificate: bytes | None
) -> Token:
    version, name, digest_algorithm, attributes, signature_algorithm, signature = _exactly(
        signer, der.SEQUENCE, 6
    )
    _same(version, der.write_int(1), "has another version of signer than 1")
    _same(digest_algorithm, algorithm.encoded, "names two digest algorithms")
    digest = _digest_algorithm(algorithm)
    value = der.expect(signature, der.OCTET_STRING)
    signed = _attributes(attributes)
    _same(_value(signed, _CONTENT_TYPE), _TST_INFO, "signs another type of content")
    of_content = der.write(der.OCTET_STRING, hashlib.new(digest, content).digest())
    _same(_value(signed, _MESSAGE_DIGEST), of_content, "signs the digest of another content")
    return Token(
        _info(content),
        certificate,
        der.expect(name, der.SEQUENCE),
        _certificate_digest(signed),
        digest,
        signature_algorithm.encoded,
        bytes([der.SET]) + attributes.encoded[1:],
        value,
    )


def certificate_of(token: Token, given: x509.Certificate | None) -> x509.Certificate:
    """Return the signer's certificate: the `given` one, or else the one that the token brings.

    Raises DerError when the token was not signed with it, or it is not fit for timestamps.
    """
    encoded = given.public_bytes(Encoding.DER) if given else token.certificate
    if encoded is None:
        raise DerError("lacks the signer's certificate")
    if token.certificate not in (None, encoded) or _names(encoded) != token.signer:
        raise DerError("was not signed with the authority's certificate")
    algorithm, digest = token.certificate_digest
    if hashlib.new(algorithm, encoded).digest() != digest:
        raise DerError("was signed with another certificate than it names")
    try:
        certificate = given or x509.load_der_x509_certificate(encoded)
        allowed = _signature_algorithms(certificate, token.digest_algorithm)
        _check_usage(certificate)
    except (UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension) as error:
        raise DerError(f"was signed with a certificate that cannot be read: {error}") from error
    if token.signature_algorithm not in allowed:
        raise DerError("names another signature algorithm than that of its signer")
    return certificate


def holds(token: Token, certificate: x509.Certificate) -> bool:
    """Whether the token's signature is of the key of its certificate (`certificate_of`)."""
    key, algorithm = certificate.public_key(), _HASHES[token.digest_algorithm]()
    try:
        if isinstance(key, RSAPublicKey):
            key.verify(token.signature, token.attributes, PKCS1v15(), algorithm)
        elif isinstance(key, EllipticCurvePublicKey):
            key.verify(token.signature, token.attributes, ECDSA(algorithm))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _encapsulated(content: Element) -> bytes:
    kind, wrapped = _exactly(content, der.SEQUENCE, 2)
    _same(kind, _TST_INFO, "is no timestamp")
    (octets,) = _exactly(wrapped, der.context(0), 1)
    return der.expect(octets, der.OCTET_STRING)


def _attributes(element: Element) -> dict[bytes, Element]:
    """Signed attributes: type → value; each has one value and is there once."""
    found: dict[bytes, Element] = {}
    for one in der.set_members(element, der.context(0)):
        kind, values = _exactly(one, der.SEQUENCE, 2)
        if kind.encoded in found:
            raise DerError("has a signed attribute twice")
        (found[kind.encoded],) = _exactly(values, der.SET, 1)
    return found


def _value(attributes: dict[bytes, Element], kind: bytes) -> Element:
    if kind not in attributes:
        raise DerError("lacks a signed attribute that it must have")
    return attributes[kind]


def _certificate_digest(attributes: dict[bytes, Element]) -> tuple[str, bytes]:
    """The first ESSCertIDv2 (default SHA-256), or else the first ESSCertID (SHA-1)."""
    newer = attributes.get(_SIGNING_CERTIFICATE_V2)
    outer = newer or _value(attributes, _SIGNING_CERTIFICATE)
    identifiers, *_ = der.members(outer, der.SEQUENCE)
    identifier, *_ = der.members(identifiers, der.SEQUENCE)
    digest, *rest = der.members(identifier, der.SEQUENCE)
    if newer is None:
        return "sha1", der.expect(digest, der.OCTET_STRING)
    if digest.tag == der.SEQUENCE and rest:
        return _digest_algorithm(digest), der.expect(rest[0], der.OCTET_STRING)
    return "sha256", der.expect(digest, der.OCTET_STRING)


def _digest_algorithm(element: Element) -> str:
    der.expect(element, der.SEQUENCE)
    for oid, name in _DIGESTS.items():
        if element.content in (oid, oid + der.NULL):
            return name
    raise DerError("uses a digest algorithm that is none of SHA-256, SHA-384 and SHA-512")


def _signature_algorithms(certificate: x509.Certificate, digest: str) -> set[bytes]:
    """The identifiers that a signature with this key and digest may have."""
    key = certificate.public_key()
    if isinstance(key, RSAPublicKey):
        names = (_RSA, _oid("2a864886f70d0101" + _RSA_WITH[digest]))
        return {der.write(der.SEQUENCE, name, tail) for name in names for tail in (der.NULL, b"")}
    if isinstance(key, EllipticCurvePublicKey):
        return {der.write(der.SEQUENCE, _oid("2a8648ce3d0403" + _ECDSA_WITH[digest]))}
    return set()


def _check_usage(certificate: x509.Certificate) -> None:
    """RFC 3161 2.3: the extended key usage is timeStamping alone, and critical."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound as error:
        raise DerError("was signed with a certificate that is not for timestamps") from error
    if not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise DerError("was signed with a certificate that is not for timestamps alone")


def _names(certificate: bytes) -> bytes:
    """Issuer and serial number of a certificate (DER), as they are encoded in it."""
    body, *_ = der.members(der.read(certificate), der.SEQUENCE)
    fields = der.members(body, der.SEQUENCE)
    versioned = bool(fields) and fields[0].tag == der.context(0)
    serial, _, issuer, *_ = fields[1:] if versioned else fields
    return issuer.encoded + serial.encoded


def _info(content: bytes) -> Info:
    """The TSTInfo."""
    version, policy, imprint, serial, time, *rest = der.members(der.read(content), der.SEQUENCE)
    _same(version, der.write_int(1), "has another version of timestamp than 1")
    der.expect(policy, der.OID)
    algorithm, digest = _exactly(imprint, der.SEQUENCE, 2)
    if _digest_algorithm(algorithm) != "sha256":
        raise DerError("is about a digest that is not SHA-256")
    optional = {one.tag: one for one in rest}
    if len(optional) != len(rest):
        raise DerError("has a field twice")
    if der.context(1) in optional:
        _check_extensions(optional[der.context(1)])
    nonce = optional.get(der.INTEGER)
    accuracy = optional.get(der.SEQUENCE)
    return Info(
        der.expect(digest, der.OCTET_STRING),
        _time(der.expect(time, der.GENERALIZED_TIME)),
        None if accuracy is None else _accuracy(accuracy),
        der.to_int(serial),
        None if nonce is None else der.to_int(nonce),
    )


def _check_extensions(element: Element) -> None:
    """None may be one that a reader must understand."""
    for one in der.members(element, der.context(1)):
        if any(field.tag == der.BOOLEAN for field in der.members(one, der.SEQUENCE)):
            raise DerError("has a critical extension, and none is known here")


def _time(text: bytes) -> datetime:
    found = _TIME.fullmatch(text)
    if not found:
        raise DerError(f"has no time of the form YYYYMMDDhhmmss.sZ: {text!r}")
    whole, fraction = found.group(1).decode(), (found.group(2) or b"0").decode()
    try:
        time = datetime.strptime(whole, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError as error:
        raise DerError(f"has an impossible time: {whole}") from error
    return time.replace(microsecond=int(fraction[:6].ljust(6, "0")))


def _accuracy(element: Element) -> float:
    units = {der.INTEGER: 1.0, 0x80: 1e-3, 0x81: 1e-6}
    total = 0.0
    for one in der.members(element, der.SEQUENCE):
        if one.tag not in units or (value := der.to_int(one, one.tag)) < 0:
            raise DerError("has an accuracy that is none")
        total += value * units[one.tag]
    return total


def _read(token: bytes) -> Element:
    if len(token) > MAX_BYTES:
        raise DerError(f"has {len(token)} bytes, more than {MAX_BYTES}")
    return der.read(token)


def _exactly(element: Element, tag: int, count: int) -> list[Element]:
    found = der.set_members(element, tag) if tag == der.SET else der.members(element, tag)
    if len(found) != count:
        raise DerError(f"has {len(found)} parts where {count} are expected")
    return found


def _same(element: Element, expected: bytes, otherwise: str) -> None:
    if element.encoded != expected:
        raise DerError(otherwise)
