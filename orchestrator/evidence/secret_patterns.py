"""What secrets look like: each kind with a name, and how it is found in the bytes of a file. Pure.

A pattern works on the bytes as they stand, JSON and its escapes included: what it finds ends before
a quote and takes no half of an escape, so that JSON stays JSON when something else takes its place.
To add one, see docs/how-to/keep-secrets-out-of-evidence.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_NO_PASSWORDS = {
    *(b"true", b"false", b"null", b"none", b"text", b"string", b"required", b"optional"),
    *(b"scram-sha-256", b"trust", b"peer", b"cert", b"disabled", b"encrypted", b"redacted"),
}
"""What stands where a password might, and is none: how passwords are kept or asked for."""

# Of a value in the place of a password: no quote, blank or bracket; an escaped backslash is whole.
_PART = rb"(?:[^\s\"'\\,;&<>{}\[\]()`|]|\\\\)"
_VALUE, _LONG_VALUE = (rb"((?![*$%{<\[])" + _PART + count + rb")" for count in (rb"{4,}", rb"{8,}"))
# JSON within a string of JSON has its quotes and newlines escaped twice.
_QUOTE, _BLANK, _ESCAPED = rb"(?:\\{0,3}[\"'])", rb"\s{0,4}", rb"\\{1,4}[nrt]"

_DROPPED = b"0123456789{}[]\"':,\\ \t\r\n"
_IN_LOWER_CASE = bytes(range(256)).lower()


@dataclass(frozen=True)
class Search:
    """How a secret is found: the one group that matches is the secret.

    `anchor` is in every file that holds one, once blanks, digits and quotes are dropped and the
    rest is in lower case: files without are not searched. `small`: what is searched is in lower
    case. A pattern begins with plain bytes where it can: those are searched many times faster.
    """

    anchor: bytes
    pattern: re.Pattern[bytes]
    small: bool = False


@dataclass(frozen=True)
class Pattern:
    """A kind of secret: its name, what it is, how it is found.

    `holds` has the last word about what was found.
    """

    name: str
    what: str
    searches: tuple[Search, ...]
    holds: Callable[[bytes], bool] = bool


def _exact(anchor: bytes, *pattern: bytes) -> Search:
    return Search(anchor, re.compile(b"".join(pattern)))


def _any_case(anchor: bytes, *pattern: bytes) -> Search:
    return Search(anchor, re.compile(b"".join(pattern), re.MULTILINE), small=True)


def _named(anchor: bytes, name: bytes) -> Search:
    """`NAME=value`, `"NAME": "value"` and, as a whole line, `NAME: value`."""
    quoted = rb"%s%s:%s%s%s" % (_QUOTE, _BLANK, _BLANK, _QUOTE, _LONG_VALUE)
    assigned = rb"%s?%s=>?%s%s?%s" % (_QUOTE, _BLANK, _BLANK, _QUOTE, _VALUE)
    line = rb":[ \t]{1,8}%s[ \t\r]*(?:$|%s|%s)" % (_LONG_VALUE, _ESCAPED, _QUOTE)
    return _any_case(anchor, name, b"(?:", quoted, b"|", assigned, b"|", line, b")")


def _is_password(value: bytes) -> bool:
    return value.lower() not in _NO_PASSWORDS and len(set(value)) > 2


def _is_random(value: bytes) -> bool:
    """Upper case, lower case and many letters: no name of a host or a field."""
    return value.upper() != value and value.lower() != value and len(set(value)) > 9


def _is_credential(value: bytes) -> bool:
    return _is_password(value) and any(48 <= one <= 57 for one in value)


def _is_key(value: bytes) -> bool:
    return re.search(rb"[A-Za-z0-9+/=]{32}", value) is not None


_BASE64 = rb"[A-Za-z0-9+/=]"
_KEY_BODY = rb"(?:" + _ESCAPED + rb"|[A-Za-z0-9+/=:,.]|-(?!----)|\s+(?=[A-Za-z0-9+/=-]))*"
_SHARE, _LINES = rb"[a-z0-9+/=]{40,}", rb"(?:\s|%s){0,20}" % _ESCAPED
PATTERNS: tuple[Pattern, ...] = (
    Pattern(
        "private-key",
        "a private key in PEM, encrypted or not: PKCS#1, PKCS#8, EC, OpenSSH, PGP",
        (
            _exact(
                b"privatekey",
                rb"(-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----",
                _KEY_BODY,
                rb"(?:-----END [A-Z0-9 ]{0,60}PRIVATE KEY(?: BLOCK)?-----)?)",
            ),
        ),
        _is_key,
    ),
    Pattern(
        "vault-token",
        "a token of Vault or OpenBao: `hvs.`, `hvb.`, `hvr.`, `s.`, `b.`, `r.`",
        (
            _exact(
                b".",
                rb"\.(?:(?<=hv[sbr]\.)|(?<=[sbr]\.)(?<![\w.-]..))([A-Za-z0-9_-]{24,})(?![\w-]|\.\w)",
            ),
        ),
        _is_random,
    ),
    Pattern(
        "aws-access-key",
        "the id of an access key of AWS: `AKIA`, `ASIA`",
        tuple(
            _exact(name.lower(), b"(", name, rb"(?<!\w....)[A-Z0-9]{16})(?!\w)")
            for name in (b"AKIA", b"ASIA")
        ),
    ),
    Pattern(
        "secret-key",
        "a value named as a secret or API key: S3, AWS, pgBackRest's repositories",
        (
            _named(b"secret", rb"secret[_-]?(?:access[_-]?)?key"),
            _named(b"secret", rb"secret(?:(?<=key-secret)|(?<=client_secret))"),
            _named(b"api", rb"api[_-]?key"),
        ),
        _is_password,
    ),
    Pattern(
        "secret-id",
        "the secret id of an AppRole",
        (_named(b"secret", rb"secret[_-]id"),),
        _is_password,
    ),
    Pattern(
        "password",
        "a value named password, passwd (`PGPASSWORD` too), passphrase or cipher pass",
        (
            _named(b"pass", rb"pass(?:word|wd|phrase)"),
            _named(b"cipher", rb"cipher[_-]pass"),
        ),
        _is_password,
    ),
    Pattern(
        "token",
        "a value named as a token: client, session, access, refresh, root, `X-Vault-Token`",
        (
            _named(
                b"token",
                rb"token(?:(?<=(?:client|access)[_-]token)|(?<=(?:session|refresh)[_-]token)|"
                rb"(?<=security[_-]token)|(?<=vault[_-]token)|(?<=(?:auth|root)[_-]token))",
            ),
        ),
        _is_password,
    ),
    Pattern(
        "authorization",
        "the value of an `Authorization` header: Bearer, Basic, Session (Tryton)",
        (
            _any_case(
                b"authorization",
                *(b"authorization", _QUOTE, b"?", _BLANK, b"[:=]", _BLANK, _QUOTE, b"?"),
                *(rb"(?:bearer|basic|session|token|digest)\s{1,4}", _LONG_VALUE),
            ),
            _any_case(b"bearer", rb"bearer (?<!\w.......)([a-z0-9._~+/=-]{20,})"),
        ),
        _is_credential,
    ),
    Pattern(
        "url-password",
        "a password in a URL: `scheme://user:password@host`",
        (
            _exact(
                b"@",
                rb"://[^\s/:@\"'\\<>\[\]]{0,80}:((?![*$%{<\[])[^\s/@\"'\\<>\[\]]{1,200})@",
            ),
        ),
    ),
    Pattern(
        "password-hash",
        "a password's hash: SCRAM, PostgreSQL's md5, bcrypt, argon2, scrypt, pbkdf2, crypt",
        (
            _exact(
                b"scram-sha-",
                *(rb"(SCRAM-SHA-(?:1|256|512)\$[0-9]{1,9}:", _BASE64, rb"{8,}\$"),
                *(_BASE64, b"{8,}:", _BASE64, b"{8,})"),
            ),
            _exact(b"md", rb"(md5(?<!\w...)[0-9a-f]{32})(?!\w)"),
            _exact(
                b"$",
                rb"(\$(?:2[aby]\$[0-9]{2}\$[A-Za-z0-9./]{53}|"
                rb"(?:argon2|scrypt\$|pbkdf2|[56y]\$)[^\s\"'\\]{0,99}\$[\w./+]{20,}={0,2}))",
            ),
        ),
    ),
    Pattern(
        "unseal-key",
        "shares of the unseal key of Vault or OpenBao, as their commands print them",
        tuple(
            _any_case(
                anchor,
                *(name, rb"(?:s?_(?:b64|hex)|s?|[ _-]?[0-9]{0,2})", _QUOTE, b"?", _BLANK),
                *(b"[:=]", _BLANK, rb"\[?", _LINES, _QUOTE, b"?(", _SHARE),
                *(b"(?:", _QUOTE, b",", _LINES, _QUOTE, _SHARE, b"){0,20})"),
            )
            for anchor, name in ((b"unseal", rb"unseal[ _]key"), (b"keys_base", b"keys_base64"))
        ),
    ),
    Pattern(
        "jwt",
        "a JSON web token",
        (_exact(b".eyj", rb"(eyJ(?<![\w-]...)[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})"),),
    ),
    Pattern(
        "session",
        "the session of a Tryton user",
        (
            _any_case(
                b"session", b"session", _QUOTE, _BLANK, b":", _BLANK, _QUOTE, rb"([0-9a-f]{64})"
            ),
        ),
    ),
    Pattern(
        "service-token",
        "a token of GitHub, GitLab or Slack, or a secret key of age",
        (
            _exact(b"gh", rb"(gh[pousr]_[A-Za-z0-9]{36,})"),
            _exact(b"github_pat_", rb"(github_pat_[A-Za-z0-9_]{22,})"),
            _exact(b"glpat-", rb"(glpat-[A-Za-z0-9_-]{20,})"),
            _exact(b"xox", rb"(xox[abeoprs]-[A-Za-z0-9-]{10,})"),
            _exact(b"hooks.slack.com", rb"hooks\.slack\.com/services/([A-Za-z0-9/]{20,})"),
            _exact(b"age-secret-key-", rb"(AGE-SECRET-KEY-1[A-Z0-9]{50,})"),
        ),
    ),
)


def secrets_in(content: bytes) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and name of each secret that looks to be in a file; some may overlap."""
    dense = content.translate(_IN_LOWER_CASE, _DROPPED)
    small: bytes | None = None
    for pattern in PATTERNS:
        for one in pattern.searches:
            if one.anchor not in dense:
                continue
            if one.small and small is None:
                small = content.lower()
            for match in one.pattern.finditer(small if one.small and small else content):
                start, end = match.span(match.lastindex or 0)
                if pattern.holds(content[start:end]):
                    yield start, end, pattern.name
