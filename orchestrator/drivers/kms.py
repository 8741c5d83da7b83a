"""AWS KMS: signs evidence with a P-256 key that never leaves it.

P-256 and not Ed25519, which KMS has too: for Ed25519 it takes the message itself, at most 4096
bytes, and a statement is longer; for ECDSA it takes a digest.
Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from orchestrator.model.errors import InfrastructureError

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

_CONFIG = Config(
    connect_timeout=5, read_timeout=10, retries={"mode": "standard", "max_attempts": 4}
)
_SPEC = "ECC_NIST_P256"
_RIGHTS = "let this identity do kms:GetPublicKey and kms:Sign with the key"
_LOGIN = "give valid AWS credentials (environment, profile or role, as boto3 takes them)"
_STATE = "enable the key, or cancel its deletion; evidence is signed again when it is resumed"
_TODO = {
    "AccessDeniedException": _RIGHTS,
    "DisabledException": _STATE,
    "KMSInvalidStateException": _STATE,
    "NotFoundException": "look at the key's id or alias, and at the region",
    "InvalidKeyUsageException": f"make a key with usage SIGN_VERIFY and spec {_SPEC}",
    "UnsupportedOperationException": f"make a key with usage SIGN_VERIFY and spec {_SPEC}",
    "ThrottlingException": "try again later, or raise the account's KMS request quota",
    "LimitExceededException": "try again later, or raise the account's KMS request quota",
    "UnrecognizedClientException": _LOGIN,
    "InvalidClientTokenId": _LOGIN,
    "InvalidSignatureException": _LOGIN,
    "ExpiredTokenException": _LOGIN,
}


class KmsSigner:
    """Signs with one asymmetric key (id, ARN or `alias/…`), usage SIGN_VERIFY, ECC_NIST_P256.

    Region, endpoint and credentials are boto3's own: environment, profile or role. Nothing is
    asked before a verb is; verbs raise InfrastructureError.
    """

    def __init__(self, key: str) -> None:
        self.key = key

    def public_key_pem(self) -> str:
        """The public key (PEM, SubjectPublicKeyInfo), asked for once."""
        return self._resolved[1]

    def sign(self, message: bytes) -> bytes:
        """The ECDSA signature (DER) of the SHA-256 of `message`, whatever its length."""
        arn = self._resolved[0]
        try:
            answer = self._client.sign(
                KeyId=arn,
                Message=hashlib.sha256(message).digest(),
                MessageType="DIGEST",
                SigningAlgorithm="ECDSA_SHA_256",
            )
        except (ClientError, BotoCoreError) as error:
            raise self._failed("sign", error) from error
        return answer["Signature"]

    @cached_property
    def _client(self) -> KMSClient:
        try:
            return boto3.client("kms", config=_CONFIG)
        except (BotoCoreError, ValueError) as error:
            raise self._failed("be reached", error) from error

    @cached_property
    def _resolved(self) -> tuple[str, str]:
        """The key's own id and its public key: an alias that moves on does not change a signer."""
        try:
            answer = self._client.get_public_key(KeyId=self.key)
        except (ClientError, BotoCoreError) as error:
            raise self._failed("give the public key", error) from error
        public = load_der_public_key(answer["PublicKey"])
        p256 = isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1)
        if not p256 or answer["KeyUsage"] != "SIGN_VERIFY":
            raise InfrastructureError(
                f"the KMS key {self.key} for {answer['KeyUsage']} cannot sign evidence",
                _TODO["InvalidKeyUsageException"],
            )
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return answer["KeyId"], pem.decode()

    def _failed(self, what: str, error: Exception) -> InfrastructureError:
        if isinstance(error, ClientError):
            todo = _TODO.get(error.response.get("Error", {}).get("Code", ""), "")
        elif isinstance(error, NoRegionError):
            todo = "name the region: AWS_REGION, or the profile's `region`"
        elif isinstance(error, NoCredentialsError):
            todo = _LOGIN
        else:
            todo = "look at the network and at the endpoint (AWS_ENDPOINT_URL_KMS), then try again"
        return InfrastructureError(
            f"KMS did not {what} with the key {self.key}: {error}",
            todo or "look at the key, its policy and its region",
        )
