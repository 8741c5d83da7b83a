"""Mutations of the database servers."""

from __future__ import annotations

from tests.contract.mutations.world import Mutation, primary_setting, primary_statements

MUTATIONS = [
    Mutation(
        "database-superusers",
        "{primary}/postgresql",
        "unexpected superusers: test_eve",
        primary_statements("CREATE ROLE test_eve SUPERUSER", "DROP ROLE test_eve"),
    ),
    Mutation(
        "audit-database-logins",
        "{primary}/postgresql",
        "log_connections is off",
        primary_setting("log_connections", "off"),
    ),
]
