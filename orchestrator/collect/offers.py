"""What an endpoint accepts of all that can be offered: cipher suites, groups, compression.

The server is asked for its choice, and then again without what it chose, until it refuses: that
finds all that it accepts in one connection more than there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrator.collect.handshake import Endpoint, NoTls, before_hello
from orchestrator.collect.hello import Choice, HelloVersion, NoChoice, Unreadable, ask
from orchestrator.collect.tls_names import GROUPS, SUITES_1_2, SUITES_1_3

Renegotiation = Literal["none", "secure", "insecure"]


@dataclass(frozen=True)
class Offers:
    """What is accepted, by name; None where an answer could not be read.

    `groups` are those of TLS 1.3. Without TLS 1.2 there is nothing to compress or renegotiate.
    """

    suites_1_2: tuple[str, ...] | None
    suites_1_3: tuple[str, ...] | None
    groups: tuple[str, ...] | None
    compression: bool | None
    renegotiation: Renegotiation | None
    connections: int


def try_offers(endpoint: Endpoint) -> Offers:
    """Offer everything. Raises InfrastructureError when nothing answers there."""
    counted = _Asker(endpoint)
    older: list[Choice] = []
    suites_1_2 = counted.eliminate(SUITES_1_2, lambda left: counted.ask("TLSv1.2", left), older)
    suites_1_3 = counted.eliminate(SUITES_1_3, lambda left: counted.ask("TLSv1.3", left))
    groups = counted.eliminate(
        GROUPS, lambda left: counted.ask("TLSv1.3", list(SUITES_1_3), left), by_group=True
    )
    known = suites_1_2 is not None
    return Offers(
        suites_1_2=suites_1_2,
        suites_1_3=suites_1_3,
        groups=groups,
        compression=any(one.compresses for one in older) if known else None,
        renegotiation=_renegotiation(older) if known else None,
        connections=counted.connections,
    )


def _renegotiation(older: list[Choice]) -> Renegotiation:
    if not older:
        return "none"
    return "secure" if all(one.secure_renegotiation for one in older) else "insecure"


class _Asker:
    """Asks one endpoint and counts the connections."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.connections = 0

    def ask(
        self, version: HelloVersion, suites: list[int], groups: list[int] | None = None
    ) -> Choice:
        """Raises NoChoice, Unreadable."""
        self.connections += 1
        try:
            with before_hello(self._endpoint) as link:
                return ask(link, version, suites, groups or list(GROUPS))
        except NoTls as error:
            raise NoChoice(str(error)) from error
        except (ConnectionResetError, BrokenPipeError) as error:
            raise NoChoice("the server closed the connection") from error
        except OSError as error:
            raise Unreadable(str(error)) from error

    def eliminate(
        self,
        names: Mapping[int, str],
        choose: Callable[[list[int]], Choice],
        seen: list[Choice] | None = None,
        *,
        by_group: bool = False,
    ) -> tuple[str, ...] | None:
        """The names of what is chosen until nothing is; in the server's order of preference."""
        left, found = list(names), []
        while left:
            try:
                choice = choose(left)
            except NoChoice:
                break
            except Unreadable:
                return None
            chosen = choice.group if by_group else choice.suite
            if chosen not in left:
                return None  # a server that chooses what was not offered proves nothing
            left.remove(chosen)
            found.append(names[chosen])
            if seen is not None:
                seen.append(choice)
        return tuple(found)
