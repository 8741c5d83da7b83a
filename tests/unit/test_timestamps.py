"""RFC 3161 timestamps against a real authority, `openssl ts`."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from authorities import (
    TIMESTAMPS,
    Openssl,
    Usage,
    Validity,
    make,
    openssl,
    resigned,
    rsa_2048,
    served,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from orchestrator.drivers.timestamp_authority import TimestampAuthority
from orchestrator.evidence.timestamp import der, timestamps, tokens
from orchestrator.evidence.timestamp.timestamps import TimestampError, verify
from orchestrator.model.errors import InfrastructureError, InputError

DIGEST = hashlib.sha256(b"the head of the log").digest()
REPLY = "application/timestamp-reply"
SIGNED_DATA = der.write(der.OID, bytes.fromhex("2a864886f70d010702"))
KINDS = {
    "rsa": {"key": rsa_2048},
    "p256": {},
    "more": {
        "more": "clock_precision_digits = 3\nordering = yes\ntsa_name = yes\n"
        "ess_cert_id_chain = yes\ness_cert_id_alg = sha1",
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Openssl]:
    return {name: make(tmp_path_factory.mktemp(name), **more) for name, more in KINDS.items()}


@pytest.fixture(scope="module", params=KINDS)
def authority(request: pytest.FixtureRequest, made: dict[str, Openssl]) -> Openssl:
    return made[request.param]


@pytest.fixture(scope="module")
def rsa(made: dict[str, Openssl]) -> Openssl:
    return made["rsa"]


@pytest.fixture(scope="module")
def other(made: dict[str, Openssl]) -> Openssl:
    return made["p256"]


def code(token: bytes, *trusted: timestamps.Authority, digest: bytes = DIGEST, **more) -> str:
    with pytest.raises(TimestampError) as refused:
        verify(token, digest, trusted, **more)
    return refused.value.code


def test_a_token_proves_when_its_digest_existed(authority: Openssl) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    found = verify(authority.token(DIGEST, 42), DIGEST, [authority.trusted()], nonce=42)
    assert before <= found.time <= datetime.now(UTC) + timedelta(seconds=1)
    assert (found.accuracy_seconds, found.authority) == (1.5, "tsa.example")
    assert found.serial >= 0x2A


def test_the_request_is_what_openssl_would_ask(tmp_path: Path) -> None:
    ours = tmp_path / "query.tsq"
    ours.write_bytes(timestamps.request(DIGEST, 0xFEEDFACECAFEBEEF))
    said = openssl("ts", "-query", "-in", str(ours), "-text").decode()
    assert "Hash Algorithm: sha256" in said
    assert "Nonce: 0xFEEDFACECAFEBEEF" in said
    assert "Certificate required: yes" in said
    ours.write_bytes(timestamps.request(DIGEST, 0))
    openssl("ts", "-query", "-in", str(ours), "-text")


def test_openssl_verifies_the_token_that_is_kept(authority: Openssl, tmp_path: Path) -> None:
    token = tmp_path / "head.tst"
    token.write_bytes(authority.token(DIGEST))
    folder = authority.folder
    trust = ("-CAfile", f"{folder}/root.pem", "-untrusted", f"{folder}/between.pem")
    argv = ("ts", "-verify", "-digest", DIGEST.hex(), "-in", str(token), "-token_in")
    assert b"Verification: OK" in openssl(*argv, *trust)


def test_a_pinned_certificate_alone_may_sign(rsa: Openssl, other: Openssl) -> None:
    token = rsa.token(DIGEST)
    assert verify(token, DIGEST, [rsa.trusted(tsa=rsa.pem("tsa"))])
    assert code(token, rsa.trusted(tsa=other.pem("tsa"))) == "timestamp-untrusted"


def test_a_pinned_certificate_that_the_roots_do_not_vouch_for_is_no_trust(
    rsa: Openssl, other: Openssl
) -> None:
    mixed = timestamps.authority(
        "mixed", other.pem("root"), intermediates=rsa.pem("between"), tsa=rsa.pem("tsa")
    )
    assert code(rsa.token(DIGEST), mixed) == "timestamp-untrusted"


def test_a_token_without_certificates_needs_the_pinned_one(rsa: Openssl) -> None:
    asked = timestamps.request(DIGEST, 7).replace(b"\x01\x01\xff", b"")  # certReq is false
    asked = bytes([asked[0], asked[1] - 3]) + asked[2:]
    token = timestamps.token_of(rsa.reply(asked))
    assert tokens.parse(token).certificate is None
    assert verify(token, DIGEST, [rsa.trusted(tsa=rsa.pem("tsa"))])
    assert code(token, rsa.trusted()) == "timestamp-untrusted"


def test_the_first_authority_that_vouches_is_named(rsa: Openssl, other: Openssl) -> None:
    named = timestamps.authority("mine", rsa.pem("root"), intermediates=rsa.pem("between"))
    assert verify(rsa.token(DIGEST), DIGEST, [other.trusted(), named]).authority == "mine"


def test_a_token_for_another_digest_is_a_mismatch(rsa: Openssl) -> None:
    token = rsa.token(hashlib.sha256(b"another").digest())
    assert code(token, rsa.trusted()) == "timestamp-mismatch"


def test_a_token_over_another_kind_of_digest_is_refused(rsa: Openssl, tmp_path: Path) -> None:
    query = tmp_path / "query.tsq"
    openssl("ts", "-query", "-digest", "ab" * 64, "-sha512", "-cert", "-out", str(query))
    token = timestamps.token_of(rsa.reply(query.read_bytes()))
    assert code(token, rsa.trusted(), digest=bytes.fromhex("ab" * 64)) == "timestamp-malformed"


def test_an_answer_to_another_request_is_a_mismatch(rsa: Openssl) -> None:
    token = rsa.token(DIGEST, 7)
    assert code(token, rsa.trusted(), nonce=8) == "timestamp-mismatch"


def test_an_authority_that_is_not_trusted_proves_nothing(rsa: Openssl, other: Openssl) -> None:
    token = rsa.token(DIGEST)
    assert code(token, other.trusted()) == "timestamp-untrusted"
    assert code(token) == "timestamp-untrusted"


def test_the_chain_is_the_auditors_and_not_the_tokens(rsa: Openssl) -> None:
    alone = timestamps.authority("alone", rsa.pem("root"))
    assert code(rsa.token(DIGEST), alone) == "timestamp-untrusted"


@pytest.mark.parametrize(
    "usage",
    [
        Usage((ExtendedKeyUsageOID.CLIENT_AUTH,)),
        Usage((TIMESTAMPS, ExtendedKeyUsageOID.CLIENT_AUTH)),
        Usage((TIMESTAMPS,), critical=False),
        Usage(()),
    ],
)
def test_a_certificate_that_is_not_for_timestamps_alone_is_refused(
    other: Openssl, usage: Usage
) -> None:
    bad = resigned(other, other.certified(usage))(other.token(DIGEST))
    for trusted in (other.trusted(), other.trusted(tsa=pem_of(other.certified(usage)))):
        assert code(bad, trusted) == "timestamp-untrusted"
    with pytest.raises(TimestampError, match="not for timestamps"):
        verify(bad, DIGEST, [other.trusted()])
    good = resigned(other, other.certified(Usage()))(other.token(DIGEST))
    assert verify(good, DIGEST, [other.trusted()])  # all else of the forgery is sound


def test_another_certificate_of_the_same_key_and_name_cannot_take_the_signers_place(
    other: Openssl,
) -> None:
    twin = other.certified(Usage()).public_bytes(Encoding.DER)
    sent = unreduced(other)
    (signed,) = der.members(der.members(der.read(sent), der.SEQUENCE)[1], der.context(0))
    swapped = [
        der.write(der.context(0), twin) if part.tag == der.context(0) else part.encoded
        for part in der.members(signed, der.SEQUENCE)
    ]
    whole = der.write(der.context(0), der.write(der.SEQUENCE, *swapped))
    forged = der.write(der.SEQUENCE, SIGNED_DATA, whole)
    with pytest.raises(TimestampError, match="another certificate than it names"):
        verify(forged, DIGEST, [other.trusted()])


def test_a_signature_over_another_type_of_content_is_malformed(other: Openssl) -> None:
    data = der.write(der.OID, bytes.fromhex("2a864886f70d0107017777"))  # as long as TSTInfo's
    info = der.write(der.OID, bytes.fromhex("2a864886f70d0109100104"))
    forge = resigned(
        other, other.certificate(), attributes=lambda signed: signed.replace(info, data)
    )
    assert code(forge(other.token(DIGEST)), other.trusted()) == "timestamp-malformed"


def pem_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


LAST_YEAR = Validity(datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))


def test_a_certificate_that_was_over_when_it_signed_is_expired(
    tmp_path: Path, rsa: Openssl
) -> None:
    late = make(tmp_path, valid=LAST_YEAR)
    token = late.token(DIGEST)
    assert code(token, late.trusted()) == "timestamp-expired"
    assert code(token, rsa.trusted()) == "timestamp-untrusted"
    assert code(token, late.trusted(), rsa.trusted()) == "timestamp-expired"


def test_a_certificate_that_ran_out_since_is_still_good(tmp_path: Path) -> None:
    late = make(tmp_path, valid=LAST_YEAR)
    earlier = resigned(late, late.certificate(), at("20250601120000Z"))(late.token(DIGEST))
    found = verify(earlier, DIGEST, [late.trusted()])
    assert found.time == datetime(2025, 6, 1, 12, tzinfo=UTC)


def test_a_root_that_was_over_when_its_authority_signed_is_no_trust(tmp_path: Path) -> None:
    late = make(tmp_path, valid=LAST_YEAR)
    fresh = late.certified(Usage(), Validity())
    token = resigned(late, fresh)(late.token(DIGEST))
    assert code(token, late.trusted()) == "timestamp-untrusted"


def at(time: str) -> Callable[[bytes], bytes]:
    """A TSTInfo with another time."""
    return lambda info: re.sub(rb"\x18\x0f\d{14}Z", b"\x18\x0f" + time.encode(), info)


@pytest.mark.parametrize("time", ["20261301000000Z", "20260101000060Z", "00000101000000Z"])
def test_an_impossible_time_is_malformed(other: Openssl, time: str) -> None:
    token = resigned(other, other.certificate(), at(time))(other.token(DIGEST))
    assert code(token, other.trusted()) == "timestamp-malformed"


def test_an_authority_is_trusted_for_its_window_alone(rsa: Openssl) -> None:
    now, hour = datetime.now(UTC), timedelta(hours=1)
    token = rsa.token(DIGEST)
    assert code(token, rsa.trusted(not_before=now + hour)) == "timestamp-expired"
    assert code(token, rsa.trusted(not_after=now - hour)) == "timestamp-expired"
    assert verify(token, DIGEST, [rsa.trusted(not_before=now - hour, not_after=now + hour)])


def test_no_byte_of_a_token_can_be_changed_unnoticed(authority: Openssl) -> None:
    token, trusted = authority.token(DIGEST), [authority.trusted()]
    assert verify(token, DIGEST, trusted)
    for position in range(len(token)):
        changed = bytearray(token)
        changed[position] ^= 1 << position % 8
        with pytest.raises(TimestampError):
            verify(bytes(changed), DIGEST, trusted)


def test_no_byte_can_be_changed_unnoticed_when_the_certificate_is_pinned(rsa: Openssl) -> None:
    token, trusted = rsa.token(DIGEST), [rsa.trusted(tsa=rsa.pem("tsa"))]
    for position in range(len(token)):
        changed = bytearray(token)
        changed[position] ^= 0x80 >> position % 8
        with pytest.raises(TimestampError):
            verify(bytes(changed), DIGEST, trusted)


def unreduced(authority: Openssl) -> bytes:
    """The token as the authority sent it, with its intermediate certificate."""
    response = authority.reply(timestamps.request(DIGEST, 7))
    return der.members(der.read(response), der.SEQUENCE)[1].encoded


def test_what_nobody_signed_is_left_out_of_a_token_and_refused_in_one(rsa: Openssl) -> None:
    sent = unreduced(rsa)
    assert code(sent, rsa.trusted()) == "timestamp-malformed"
    kept = tokens.reduced(sent)
    assert len(kept) < len(sent)
    assert tokens.reduced(kept) == kept
    assert verify(kept, DIGEST, [rsa.trusted()])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x30",
        b"\x30\x00",
        b"\x30\x80\x00\x00",  # of no definite length
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x81\x01\x00",
        b"\x1f\x81\x00",
        b"<html>down</html>",
        b"\x30\x82\x04\x00" * 5000,
        b"\x30\x80" * 30_000,
        bytes(tokens.MAX_BYTES + 1),
        bytes(10_000_000),
    ],
)
def test_a_hostile_token_or_response_is_malformed_and_costs_nothing(
    rsa: Openssl, content: bytes
) -> None:
    began = time.monotonic()
    assert code(content, rsa.trusted()) == "timestamp-malformed"
    with pytest.raises(TimestampError) as refused:
        timestamps.token_of(content)
    assert refused.value.code == "timestamp-malformed"
    assert time.monotonic() - began < 1


def nested(depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = der.write(der.SEQUENCE, content)
    return content


def test_a_deeply_nested_token_is_malformed(rsa: Openssl) -> None:
    assert code(nested(10_000), rsa.trusted()) == "timestamp-malformed"


def test_a_token_cut_off_anywhere_is_malformed(rsa: Openssl) -> None:
    token = rsa.token(DIGEST)
    for size in range(0, len(token), 7):
        assert code(token[:size], rsa.trusted()) == "timestamp-malformed"
    assert code(token + b"\x00", rsa.trusted()) == "timestamp-malformed"


def test_an_authority_without_usable_certificates_is_refused(rsa: Openssl) -> None:
    with pytest.raises(InputError, match="roots of x"):
        timestamps.authority("x", b"no PEM")
    with pytest.raises(InputError, match="2 certificates"):
        timestamps.authority("x", rsa.pem("root"), tsa=rsa.pem("tsa") + rsa.pem("root"))


def once(*body: bytes, status: int = 200, kind: str = REPLY) -> Callable:
    return lambda asked: (status, kind, iter(body))


def honest(authority: Openssl) -> Callable:
    return lambda asked: (200, REPLY, iter([authority.reply(asked)]))


def test_the_driver_asks_an_authority_and_verifies_what_it_says(rsa: Openssl) -> None:
    with served(honest(rsa)) as url:
        token, found = TimestampAuthority(url, rsa.trusted()).stamp(DIGEST)
    assert verify(token, DIGEST, [rsa.trusted()]) == found


def refusal(answer: Callable, trusted: timestamps.Authority, seconds: float = 5) -> str:
    with served(answer) as url, pytest.raises(InfrastructureError) as failed:
        TimestampAuthority(url, trusted, timeout_seconds=seconds).stamp(DIGEST)
    assert url in failed.value.what
    assert failed.value.todo
    return failed.value.what


def test_a_token_of_another_request_or_digest_is_never_handed_on(rsa: Openssl) -> None:
    replayed = rsa.reply(timestamps.request(DIGEST, 7))
    assert "nonce differs" in refusal(once(replayed), rsa.trusted())
    foreign = rsa.reply(timestamps.request(bytes(32), 7))
    assert "is about 0000" in refusal(once(foreign), rsa.trusted())


def test_a_token_that_no_auditor_would_trust_is_never_handed_on(
    rsa: Openssl, other: Openssl
) -> None:
    assert "tsa.example: " in refusal(honest(other), rsa.trusted())


def test_the_authoritys_own_reason_is_passed_on(rsa: Openssl) -> None:
    reason = rsa.reply(b"\x30\x03\x02\x01\x01")
    said = refusal(once(reason), rsa.trusted())
    assert "rejection" in said
    assert "bad data format" in said


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (once(b"busy", status=503), "answered 503"),
        (once(b"<html>", kind="text/html; charset=utf-8"), "text/html"),
        (once(b"x", status=302), "answered 302"),
        (once(b"<html>"), "not a timestamp response"),
        (once(nested(5000)), "gave no good timestamp"),
        (once(*[bytes(4096)] * 100), "sent more than"),
    ],
)
def test_an_answer_that_is_no_timestamp_is_said_to_be_so(
    rsa: Openssl, answer: Callable, said: str
) -> None:
    assert said in refusal(answer, rsa.trusted())


def drip(asked: bytes) -> tuple[int, str, Iterator[bytes]]:
    def body() -> Iterator[bytes]:
        while True:
            time.sleep(0.1)
            yield b"\x30" * 4096

    return 200, REPLY, body()


def test_an_authority_that_never_ends_its_answer_is_not_waited_for(rsa: Openssl) -> None:
    began = time.monotonic()
    assert "was not done after 0.5 s" in refusal(drip, rsa.trusted(), seconds=0.5)
    assert time.monotonic() - began < 5


def test_an_authority_that_is_down_is_said_to_be_so(rsa: Openssl) -> None:
    with pytest.raises(InfrastructureError, match="did not answer"):
        TimestampAuthority("http://127.0.0.1:9/tsa", rsa.trusted()).stamp(DIGEST)
