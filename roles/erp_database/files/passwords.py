"""Which of the ERP's users have another password than wished, and the hashes of the wished ones.

Run in the ERP's virtual environment, which has the hash functions: reads
``{login: {"password": …, "hash": … or null}}`` on stdin and prints ``{login: new hash}`` for those
whose hash does not fit.
"""

from __future__ import annotations

import json
import sys

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError


def main() -> None:
    """Compare, print."""
    hasher = PasswordHash.recommended()
    wrong: dict[str, str] = {}
    for login, entry in json.load(sys.stdin).items():
        try:
            same = bool(entry["hash"]) and hasher.verify(entry["password"], entry["hash"])
        except UnknownHashError:
            same = False
        if not same:
            wrong[login] = hasher.hash(entry["password"])
    json.dump(wrong, sys.stdout)


if __name__ == "__main__":
    main()
