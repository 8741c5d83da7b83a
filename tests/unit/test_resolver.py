"""The resolver's next transition: what it does in each state, and what it never does in any."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.drivers.postgresql import Role
from orchestrator.model.errors import InfrastructureError
from orchestrator.steps.resolver import Node, Transition, World, next_transition

P, S, D = Role.PRIMARY, Role.STANDBY, Role.DOWN


def node(
    site: str,
    role: Role,
    *,
    up: bool = True,
    timeline: int = 1,
    follows: bool | None = None,
    fenced: bool = False,
) -> Node:
    return Node(site, up, role, role is S if follows is None else follows, timeline, fenced)


def world(home: Node, away: Node, **fields: object) -> World:
    defaults = {"routed": "a", "replicating": True, "synchronous": True}
    return World(home=home, away=away, **{**defaults, **fields})  # type: ignore[arg-type]


AS_IT_STARTS = world(node("a", P), node("b", S))


def test_nothing_is_done_when_everything_is_as_it_starts() -> None:
    assert next_transition(AS_IT_STARTS) is None


@pytest.mark.parametrize(
    ("state", "verb", "site"),
    [
        # The dead machine is started first; its database stays down.
        (world(node("a", D, up=False), node("b", P)), "start_machine", "a"),
        # Failed over: the old primary does not follow, so it is rewound.
        (world(node("a", D), node("b", P, timeline=2), replicating=False), "rejoin", "a"),
        # It was made a standby, and only has to be started.
        (world(node("a", D, follows=True), node("b", P, timeline=2)), "follow", "a"),
        # It follows, but is of a newer history than the primary: it diverged.
        (world(node("a", D, follows=True, timeline=3), node("b", P, timeline=2)), "rejoin", "a"),
        (world(node("a", S), node("b", P), replicating=False), "rejoin", "a"),
        (world(node("a", S), node("b", P)), "failback", "a"),
        (world(node("a", P), node("b", S), synchronous=False), "settle_replication", "a"),
        (world(node("a", P), node("b", S), routed="b"), "route", "a"),
        (world(node("a", P), node("b", S), routed=None), "route", "a"),
        # The primary was killed and nobody was promised to take over: it comes back.
        (world(node("a", D), node("b", S)), "start", "a"),
        # The old primary was fenced for a promotion that was cut short: it can only be completed.
        (world(node("a", D, fenced=True), node("b", S)), "promote", "b"),
        # The failback's stop came before its promotion: the stopped primary is the newest.
        (world(node("a", S, timeline=2), node("b", D, timeline=2)), "start", "b"),
        (world(node("a", S, timeline=2), node("b", D, timeline=2, fenced=True)), "promote", "a"),
        # Both are down and neither follows: the newer history is the primary's.
        (world(node("a", D), node("b", D, timeline=2)), "start", "b"),
        (world(node("a", D), node("b", D, follows=True)), "start", "a"),
        # A reboot in a failover: the fenced one stays down, whatever the other had come to.
        (world(node("a", D, fenced=True), node("b", D)), "start", "b"),
        (world(node("a", D, fenced=True), node("b", D, follows=True)), "start", "b"),
    ],
)
def test_the_next_transition(state: World, verb: str, site: str) -> None:
    assert next_transition(state) == Transition(verb, site)


def test_two_primaries_are_for_a_human() -> None:
    with pytest.raises(InfrastructureError, match="split brain"):
        next_transition(world(node("a", P), node("b", P)))


def test_two_followers_without_a_primary_are_for_a_human() -> None:
    with pytest.raises(InfrastructureError, match="both follow"):
        next_transition(world(node("a", S), node("b", S)))


nodes = st.builds(
    lambda role, up, timeline, follows, fenced: {
        "role": role if up else D,
        "up": up,
        "timeline": timeline,
        "follows": follows or role is S,
        "fenced": fenced and not follows and role is not S,
    },
    st.sampled_from([P, S, D]),
    st.booleans(),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
)


@given(nodes, nodes, st.booleans(), st.booleans())
def test_never_is_a_second_database_made_writable(
    home: dict[str, Any], away: dict[str, Any], replicating: bool, synchronous: bool
) -> None:
    first, second = (node(site, **fields) for site, fields in (("a", home), ("b", away)))
    state = world(first, second, replicating=replicating, synchronous=synchronous)
    try:
        transition = next_transition(state)
    except InfrastructureError:
        return
    if transition is None or transition.verb not in {"start", "promote"}:
        return
    mine = first if transition.site == "a" else second
    other = second if mine is first else first
    assert other.role is not P, "the other accepts writes"
    if transition.verb == "promote":
        assert (mine.role, other.role, other.fenced) == (S, D, True)
    else:
        assert mine.role is D
        assert not mine.fenced, "a fenced database is never started as it is"


def test_every_state_that_a_failover_passes_through_leads_home() -> None:
    """Follow the transitions in a model of the two servers, from each state, to the start."""
    roles = [(D, False), (D, True), (S, True), (P, True)]
    for (home, home_up), (away, away_up), fenced, t1, t2 in itertools.product(
        roles, roles, ["", "a", "b"], [1, 2], [1, 2]
    ):
        state = world(
            node("a", home, up=home_up, timeline=t1, fenced=fenced == "a" and home is D),
            node("b", away, up=away_up, timeline=t2, fenced=fenced == "b" and away is D),
            replicating=False,
            synchronous=False,
            routed="b",
        )
        try:
            for _ in range(20):
                transition = next_transition(state)
                if transition is None:
                    break
                state = _after(state, transition)
            else:
                raise AssertionError(f"no rest from {home}, {away}, fenced {fenced!r}")
        except InfrastructureError as error:
            assert "both" in str(error)


def _after(state: World, transition: Transition) -> World:
    """What the world is after a transition that succeeded."""
    nodes = {one.site: one for one in state.nodes}
    site, peer = transition.site, "b" if transition.site == "a" else "a"
    mine, other = nodes[site], nodes[peer]
    newest = max(mine.timeline, other.timeline)
    replicating, synchronous, routed = state.replicating, state.synchronous, state.routed
    match transition.verb:
        case "start_machine":
            mine = replace(mine, machine_up=True)
        case "start":
            mine = node(site, S if mine.follows else P, timeline=mine.timeline)
        case "promote":
            mine = node(site, P, timeline=newest + 1)
        case "follow" | "rejoin":
            mine, replicating = node(site, S, timeline=other.timeline), True
        case "failback":
            mine, other = node(site, P, timeline=newest + 1), node(peer, S, timeline=newest + 1)
            routed, replicating, synchronous = site, True, True
        case "settle_replication":
            synchronous = True
        case "route":
            routed = site
    home, away = (mine, other) if site == "a" else (other, mine)
    return World(home, away, routed, replicating, synchronous)
