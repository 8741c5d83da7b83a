"""moto's KMS, the only one that the signer was tested with.

moto takes a digest for a message and hashes it again; here it signs a digest, as KMS does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from moto import mock_aws
from moto.kms.responses import KmsResponse
from moto.kms.utils import ECDSAPrivateKey

REGION = "eu-central-1"
ANSWER = KmsResponse.sign


def sign_digest(self: ECDSAPrivateKey, message: bytes, signing_algorithm: str) -> bytes:
    assert signing_algorithm == "ECDSA_SHA_256"
    return self.private_key.sign(message, ECDSA(Prehashed(SHA256())))


def take_digest(self: KmsResponse) -> str:
    assert self._get_param("MessageType") == "DIGEST"
    return ANSWER(self)


@contextmanager
def server() -> Iterator[Any]:
    """A client of a KMS without keys, which boto3 finds by its environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.setattr(ECDSAPrivateKey, "sign", sign_digest)
        patch.setattr(KmsResponse, "sign", take_digest)
        with mock_aws():
            yield boto3.client("kms", region_name=REGION)


def make(client: Any, spec: str = "ECC_NIST_P256", usage: str = "SIGN_VERIFY") -> str:
    """The id of a new key."""
    found: str = client.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]
    return found
