"""Certificates of the secret manager's PKI: what is wrong with one, and a new one."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Any

import hvac
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID


def names_of(certificate: x509.Certificate) -> tuple[str, set[str], set[str]]:
    """Common name, DNS names and IP addresses of a certificate."""
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    try:
        alternative = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound:
        return str(common[0].value) if common else "", set(), set()
    return (
        str(common[0].value) if common else "",
        set(alternative.get_values_for_type(x509.DNSName)),
        {str(address) for address in alternative.get_values_for_type(x509.IPAddress)},
    )


def reasons(wish: dict[str, Any], certificate_file: Path, key_file: Path) -> list[str]:
    """Why a new certificate is needed; empty when the one on the disk serves.

    ``wish`` holds common_name, alt_names, ip_sans, renew_before_hours and ca_file.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except FileNotFoundError as error:
        return [f"{error.filename} is missing"]
    except (OSError, ValueError, TypeError) as error:
        return [f"{certificate_file} or its key cannot be read: {error}"]
    found = []
    if key.public_key() != certificate.public_key():
        found.append("the key does not belong to the certificate")
    wanted = (
        wish["common_name"],
        set(wish["alt_names"]),
        {str(ipaddress.ip_address(address)) for address in wish["ip_sans"]},
    )
    if names_of(certificate) != wanted:
        found.append("the names differ")
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    if left < datetime.timedelta(hours=wish["renew_before_hours"]):
        found.append(f"{left.total_seconds() / 3600:.1f} hours of validity are left")
    try:
        authority = x509.load_pem_x509_certificate(Path(wish["ca_file"]).read_bytes())
        certificate.verify_directly_issued_by(authority)
    except (OSError, ValueError, TypeError, InvalidSignature):
        found.append(f"{wish['ca_file']} did not issue it")
    return found


def issue(client: hvac.Client, wish: dict[str, Any]) -> tuple[bytes, bytes]:
    """A new certificate (with intermediates, never the root) and its key, both PEM.

    ``wish`` holds mount, role, common_name, alt_names, ip_sans and ttl_hours.
    """
    data = client.secrets.pki.generate_certificate(
        name=wish["role"],
        common_name=wish["common_name"],
        mount_point=wish["mount"],
        extra_params={
            "alt_names": ",".join(wish["alt_names"]),
            "ip_sans": ",".join(wish["ip_sans"]),
            "ttl": f"{wish['ttl_hours']}h",
            "exclude_cn_from_sans": True,
            "private_key_format": "pkcs8",
        },
    )["data"]
    chain = [data["certificate"]]
    for pem in data.get("ca_chain") or []:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        if certificate.issuer != certificate.subject:
            chain.append(pem)
    text = "".join(f"{pem.strip()}\n" for pem in chain)
    return text.encode(), (data["private_key"].strip() + "\n").encode()
