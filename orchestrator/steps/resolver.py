"""What is to be done next with two sites, so that home is primary and away its standby. Pure.

A resolver in the manner of a state machine: from the world as it is to the one next transition.

Invariant: never are two databases writable.
1. A stopped database is started as it is only if it follows (it has standby.signal), or if it is
   the one that may be the primary: no server accepts writes, and the other site either follows or
   is of an older timeline. Servers do not start by themselves.
2. A standby is promoted only with a fresh proof that the other database is stopped; before the
   server is told, the other's machine is marked as fenced. While that mark is there nobody
   starts it as a primary (nor does `anlan up`), so a promotion that a crash cut short can only be
   completed. The mark goes when the server becomes a standby.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.drivers.postgresql import Role
from orchestrator.model.errors import InfrastructureError


@dataclass(frozen=True)
class Node:
    """A site as it is now. `timeline` is the newest its data directory knows.

    `fenced`: it was the primary, and the other site was promoted, or was about to be.
    """

    site: str
    machine_up: bool
    role: Role
    follows: bool
    timeline: int
    fenced: bool


@dataclass(frozen=True)
class World:
    """Both sites, whether and how they replicate, and where clients are sent."""

    home: Node
    away: Node
    routed: str | None
    replicating: bool
    synchronous: bool

    @property
    def nodes(self) -> tuple[Node, Node]:
        """Home and away."""
        return (self.home, self.away)

    @property
    def primary(self) -> Node | None:
        """The node that accepts writes. Raises InfrastructureError when both do."""
        found = [node for node in self.nodes if node.role is Role.PRIMARY]
        if len(found) == 2:
            raise InfrastructureError(
                "both databases accept writes: split brain",
                "stop the one that clients do not use, keep its data, and compare by hand",
            )
        return found[0] if found else None


@dataclass(frozen=True)
class Transition:
    """What to do next: `start_machine`, `start`, `promote`, `rejoin`, … on a site."""

    verb: str
    site: str


def next_transition(world: World) -> Transition | None:  # noqa: PLR0911  (one return a rule)
    """The one next transition, or None when the environment is as it starts. Pure."""
    for node in world.nodes:
        if not node.machine_up:
            return Transition("start_machine", node.site)
    primary = world.primary
    if primary is None:
        return _without_primary(world)
    other = world.away if primary is world.home else world.home
    if other.role is Role.DOWN:
        return Transition("follow" if _may_follow(other, primary) else "rejoin", other.site)
    if not world.replicating:
        return Transition("rejoin", other.site)
    if primary is world.away:
        return Transition("failback", world.home.site)
    if not world.synchronous:
        return Transition("settle_replication", primary.site)
    if world.routed != world.home.site:
        return Transition("route", world.home.site)
    return None


def _may_follow(node: Node, primary: Node) -> bool:
    """Whether a stopped node can be started as it is: it follows, on the primary's history."""
    return node.follows and node.timeline <= primary.timeline


def _without_primary(world: World) -> Transition:
    """No database accepts writes: which one shall?"""
    for node, other in ((world.home, world.away), (world.away, world.home)):
        if node.role is Role.STANDBY and other.role is Role.DOWN and not other.follows:
            # The other was the last primary: it comes back, unless it was fenced for this one.
            if other.fenced:
                return Transition("promote", node.site)
            return Transition("start", other.site)
    down = [node for node in world.nodes if node.role is Role.DOWN]
    leaders = [node for node in down if not node.follows and not node.fenced]
    if leaders:
        newest = max(leaders, key=lambda node: (node.timeline, node is world.home))
        return Transition("start", newest.site)
    if any(node.fenced for node in world.nodes):
        for node in down:
            if not node.fenced:
                return Transition("start", node.site)
    raise InfrastructureError(
        "no database accepts writes and both follow: neither is known to be the newest",
        "compare pg_last_wal_receive_lsn() of both, and promote the newer one by hand",
    )
