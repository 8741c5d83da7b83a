"""What certificates say of themselves, as the fields of a fact."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from orchestrator.model.errors import InfrastructureError
from orchestrator.model.fact import timestamp


def chain_data(chain: Sequence[x509.Certificate]) -> dict[str, Any]:
    """The fields of a chain as it was sent, the server's own certificate first."""
    leaf = chain[0]
    lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    return {
        "chain_length": len(chain),
        "chain_signatures": [_signature(one) for one in chain],
        "subject_name": leaf.subject.rfc4514_string(),
        "issuer": leaf.issuer.rfc4514_string(),
        "names": sorted(_names(leaf)),
        "serial": f"{leaf.serial_number:x}",
        "not_before": timestamp(leaf.not_valid_before_utc),
        "not_after": timestamp(leaf.not_valid_after_utc),
        "lifetime_hours": round(lifetime / timedelta(hours=1), 2),
        "key": _key(leaf),
        "is_authority": _is_authority(leaf),
        "self_signed": leaf.issuer == leaf.subject,
    }


def authority_data(ca_file: Path) -> dict[str, Any]:
    """When the trust anchor expires. Raises InfrastructureError."""
    try:
        authority = x509.load_pem_x509_certificate(ca_file.read_bytes())
    except (OSError, ValueError) as error:
        raise InfrastructureError(
            f"cannot read the trust anchor {ca_file}: {error}", "apply the role `secrets`"
        ) from error
    return {
        "authority_key": _key(authority),
        "authority_not_after": timestamp(authority.not_valid_after_utc),
    }


def _names(certificate: x509.Certificate) -> set[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in extension.value}


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return bool(extension.value.ca)


def _key(certificate: x509.Certificate) -> str:
    """Type and size: `EC secp256r1`, `RSA 2048`, `Ed25519`."""
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, dsa.DSAPublicKey):
        return f"DSA {key.key_size}"
    return type(key).__name__.removesuffix("PublicKey")


def _signature(certificate: x509.Certificate) -> str:
    """The hash under the signature, e.g. `sha256`; of one that hashes by itself its name."""
    algorithm = certificate.signature_hash_algorithm
    return algorithm.name if algorithm else certificate.signature_algorithm_oid._name
