"""Kind `access_rights`: what every principal of a system may do, and whether that was reviewed.

A fact for each of PostgreSQL, the secret manager, each site's object store and the ERP. Data:
`rights` (principal, kind, resource, via, may), and against the signed review that counts:
`new`, `gone`, `changed`, `to_remove` (texts; null without a review), `reviewed_at`, `reviewer`,
`review_problem` (why no review counts; empty if one does). `reviewers` are who may review: without
an approval rule in the descriptor nobody, and no review is asked for.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from orchestrator.collect import access_database, access_erp, access_secrets, access_store
from orchestrator.collect.access_read import Look
from orchestrator.collect.observe import Collector, Observation
from orchestrator.drivers.secrets import Secrets
from orchestrator.evidence.persons.access_reviews import (
    KEEP,
    REMOVE,
    Review,
    ReviewError,
    read_review,
    review_file,
)
from orchestrator.evidence.persons.said import approvers
from orchestrator.model.access import Difference, compare, rights_digest
from orchestrator.model.environment import Environment
from orchestrator.model.fact import timestamp

KIND = "access_rights"


def collectors(environment: Environment, secrets: Secrets) -> list[Collector]:
    """One collector for each system."""
    looks = [
        access_database.look(environment, secrets),
        access_secrets.look(environment, secrets),
        *(access_store.look(environment, secrets, site) for site in environment.sites.values()),
        access_erp.look(environment, secrets),
    ]
    return [
        Collector(
            kind=KIND,
            subject=one.subject,
            source=one.source,
            query=one.query,
            look=partial(look, environment, one),
        )
        for one in looks
    ]


def look(environment: Environment, one: Look) -> Observation:
    """Ask one system and compare. Raises InfrastructureError, psycopg.Error."""
    rights, rows = one.ask()
    problem, review = "", None
    reviewers = {one["name"] for one in approvers(environment.approvals)}
    try:
        review = _review(environment)
        if one.subject not in review.decisions:
            problem = "the access review says nothing about this system"
    except ReviewError as error:
        problem = str(error)
    difference: Difference | None = None
    if review and not problem:
        kept, removed = (review.rights(one.subject, word) for word in (KEEP, REMOVE))
        difference = compare(kept, removed, rights)
    data = {
        "rights": [right.to_json() for right in rights],
        "principals": len({right.principal for right in rights}),
        "rights_digest": rights_digest(rights),
        "reviewers": sorted(reviewers),
        "review_problem": problem,
        "reviewed_at": timestamp(review.at) if review else None,
        "reviewer": review.reviewer if review else None,
        "review_digest": review.digest if review else None,
        **(difference.to_json() if difference else dict.fromkeys(vars(Difference()), None)),
    }
    return Observation(data, rows)


def _review(environment: Environment) -> Review:
    """The review that counts. Raises ReviewError."""
    try:
        content = review_file(environment.root).read_bytes()
    except FileNotFoundError as error:
        raise ReviewError("nobody has reviewed these rights") from error
    return read_review(content, environment.name, environment.approvals, datetime.now(UTC))
