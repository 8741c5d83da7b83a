"""Changes of a trust file: its draft, one key more, one key revoked. Pure: documents in, out."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.evidence.keys import key_id, parse_public_key
from orchestrator.evidence.trust.file import SCHEMA, trust_of
from orchestrator.model.errors import InputError, Refused
from orchestrator.model.fact import parse_timestamp, timestamp
from orchestrator.model.schema import check

_PARTS = ("keys", "witnesses", "timestamp_authorities")


def draft(
    environment: str,
    public_key: str,
    origin: str,
    settings: Mapping[str, Any],
    rule: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the trust file that fits an environment as it is: for its owner and the auditor to
    compare with what they know, and to make stricter.

    `public_key` is its evidence key (PEM), `origin` that of its log (empty: not begun), `settings`
    its evidence settings, `rule` its approval rule. Of witnesses and of authorities more than half
    are asked for: one that is down spoils no evidence, and a minority proves nothing.
    """
    witnesses, authorities = (
        [{name: one[name] for name in names if name in one} for one in settings.get(part, ())]
        for part, names in (
            ("witnesses", ("name", "public_key")),
            ("timestamp_authorities", ("name", "roots", "intermediates")),
        )
    )
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "environment": environment,
        **({"logs": [origin]} if origin else {}),
        "keys": [
            {
                "name": f"{environment}-evidence",
                "roles": ["orchestrator", "log"],
                "public_key": public_key,
            }
        ],
        **({"witnesses": witnesses} if witnesses else {}),
        **({"timestamp_authorities": authorities} if authorities else {}),
        "thresholds": {
            "orchestrator": 1,
            "witnesses": _most(witnesses),
            "timestamps": _most(authorities),
        },
        **({"approvals": dict(rule)} if rule else {}),
    }
    return _checked(data, "")


def with_key(
    data: Mapping[str, Any],
    entry: Mapping[str, Any],
    *,
    part: str = "keys",
    replaces: str = "",
    file: str = "",
) -> dict[str, Any]:
    """Return the document with one key, witness or authority (`part`) more.

    `replaces` names the key that it follows: that one is valid until the new one is from. The same
    entry again changes nothing. Raises InputError.
    """
    made: dict[str, Any] = copy.deepcopy(dict(data))
    old = _key(made, replaces, file) if replaces else {}
    if entry not in made.get(part, []):
        made.setdefault(part, []).append(dict(entry))
    if replaces:
        if old["name"] == entry["name"]:
            raise InputError(
                f"{replaces} cannot follow itself", "give the new key a name of its own", file=file
            )
        if "valid_from" not in entry:
            raise InputError(
                f"from when the new key follows {replaces} is not said",
                "give the time, e.g. --from 2027-01-01T00:00:00Z",
                file=file,
            )
        old["valid_until"] = entry["valid_from"]
    return _checked(made, file)


def revoked(
    data: Mapping[str, Any], key: str, at: datetime, why: str, *, file: str = ""
) -> dict[str, Any]:
    """Return the document with a key, given by name or id, revoked from a time on.

    The same again changes nothing, an earlier time counts. Raises InputError for no such key,
    Refused for a later time than the one that is there.
    """
    made: dict[str, Any] = copy.deepcopy(dict(data))
    entry = _key(made, key, file)
    if "revoked_at" in entry and at > parse_timestamp(entry["revoked_at"]):
        raise Refused(
            f"{entry['name']} is revoked since {entry['revoked_at']} already, which is earlier",
            "a later time would make what was signed in between count again",
        )
    entry["revoked_at"], entry["revoked_why"] = timestamp(at), why
    return _checked(made, file)


def _key(data: dict[str, Any], wanted: str, file: str) -> dict[str, Any]:
    """The key with this name or id. Raises InputError."""
    found = [
        one
        for one in data["keys"]
        if wanted in (one["name"], key_id(parse_public_key(one["public_key"].encode())))
    ]
    if len(found) == 1:
        entry: dict[str, Any] = found[0]
        return entry
    others = [one["name"] for part in _PARTS[1:] for one in data.get(part, ())]
    if wanted in others:
        raise InputError(
            f"{wanted} dates its own word, so a thief of its key dates it back",
            "take it out of the file, and name another one",
            file=file,
        )
    names = ", ".join(one["name"] for one in data["keys"])
    raise InputError(f"there is no key {wanted!r}", f"its keys: {names}", file=file)


def _most(listed: Sequence[Any]) -> int:
    return len(listed) // 2 + 1 if listed else 0


def _checked(data: dict[str, Any], file: str) -> dict[str, Any]:
    """The document if it is a trust that can be followed. Raises InputError."""
    check(data, "trust", file=file)
    trust_of(data, file=file)
    return data
