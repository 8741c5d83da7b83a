"""The KMS signer against moto."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto_kms import REGION, make, server

from orchestrator.drivers import kms
from orchestrator.drivers.kms import KmsSigner
from orchestrator.evidence import dsse
from orchestrator.evidence.keys import parse_public_key
from orchestrator.model.errors import InfrastructureError


@pytest.fixture
def aws() -> Iterator[Any]:
    with server() as client:
        yield client


@pytest.mark.parametrize("size", [0, 4096, 1_000_000])
def test_a_statement_of_any_size_is_signed_with_a_key_that_stays_there(aws, size: int) -> None:
    signer = KmsSigner(make(aws))
    key = parse_public_key(signer.public_key_pem().encode())
    for _ in range(6):  # KMS gives a high s half of the time
        envelope = dsse.sign(b"x" * size, "t", signer)
        assert dsse.verify(dsse.parse(envelope.to_bytes()), "t", [key])


def test_an_alias_that_moves_on_does_not_change_a_signer(aws) -> None:
    first, second = make(aws), make(aws)
    aws.create_alias(AliasName="alias/evidence", TargetKeyId=first)
    signer = KmsSigner("alias/evidence")
    pem = signer.public_key_pem()
    aws.update_alias(AliasName="alias/evidence", TargetKeyId=second)
    assert dsse.verify(dsse.sign(b"x", "t", signer), "t", [parse_public_key(pem.encode())])
    assert KmsSigner("alias/evidence").public_key_pem() != pem


@pytest.mark.parametrize(
    ("spec", "usage"),
    [
        ("ECC_NIST_P384", "SIGN_VERIFY"),
        ("ECC_SECG_P256K1", "SIGN_VERIFY"),
        ("RSA_2048", "SIGN_VERIFY"),
        ("RSA_2048", "ENCRYPT_DECRYPT"),
    ],
)
def test_a_key_of_another_kind_is_refused_before_it_signs(aws, spec: str, usage: str) -> None:
    with pytest.raises(InfrastructureError, match="ECC_NIST_P256"):
        KmsSigner(make(aws, spec, usage)).sign(b"x")


def test_a_key_that_is_not_there_says_what_to_look_at(aws) -> None:
    with pytest.raises(InfrastructureError, match="alias, and at the region"):
        KmsSigner("alias/none").public_key_pem()


@pytest.mark.parametrize(
    ("code", "todo"),
    [
        ("AccessDeniedException", "kms:Sign"),
        ("DisabledException", "enable the key"),
        ("KMSInvalidStateException", "cancel its deletion"),
        ("ThrottlingException", "request quota"),
        ("ExpiredTokenException", "valid AWS credentials"),
        ("KMSInternalException", "look at the key"),
    ],
)
def test_a_refusal_of_kms_says_what_to_do(
    aws, monkeypatch: pytest.MonkeyPatch, code: str, todo: str
) -> None:
    signer = KmsSigner(make(aws))
    signer.public_key_pem()

    def refuse(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "Sign")

    monkeypatch.setattr(signer._client, "sign", refuse)
    with pytest.raises(InfrastructureError, match="KMS did not sign with the key") as failed:
        signer.sign(b"x")
    assert (code in failed.value.what, todo in failed.value.todo) == (True, True)


def test_no_network_is_told_from_no_rights(aws, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = KmsSigner(make(aws))

    def unreachable(**_: Any) -> Any:
        raise EndpointConnectionError(endpoint_url="https://kms.example")

    monkeypatch.setattr(signer._client, "get_public_key", unreachable)
    with pytest.raises(InfrastructureError, match="look at the network"):
        signer.public_key_pem()


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """No credentials and no region from anywhere."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


@pytest.mark.usefixtures("nobody")
def test_no_region_and_no_credentials_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InfrastructureError, match="AWS_REGION"):
        KmsSigner("alias/evidence").public_key_pem()
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(InfrastructureError, match="valid AWS credentials"):
        KmsSigner("alias/evidence").sign(b"x")


@pytest.mark.usefixtures("nobody")
def test_a_closed_port_is_reported_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9")
    monkeypatch.setattr(kms, "_CONFIG", kms._CONFIG.merge(kms.Config(retries={"max_attempts": 0})))
    with pytest.raises(InfrastructureError, match="look at the network"):
        KmsSigner("alias/evidence").sign(b"x")
