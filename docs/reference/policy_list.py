"""Write policy-list.md: every policy and every catalogue of `policies/`, as tables.

    uv run --no-sync docs/reference/policy_list.py

`tests/unit/test_policy_list.py` fails while the page is not what this makes of the policies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from orchestrator.model.catalogue import Catalogue
from orchestrator.model.policy import Policy, parse_policies
from orchestrator.policy import Rules, decode_rules, parse_rules
from orchestrator.policy.coverage import mapping

ROOT = Path(__file__).parents[2]
PAGE = Path(__file__).with_name("policy-list.md")


def render(folder: Path) -> str:
    """Return the page about a policies folder. Raises InputError when a file of it is wrong."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.yaml"))}
    texts = decode_rules({name: path.read_bytes() for name, path in files.items()})
    return "\n".join(_lines(parse_rules(texts), texts)) + "\n"


def _lines(rules: Rules, texts: dict[str, str]) -> Iterator[str]:
    severities = Counter(one.severity for one in rules.policies)
    told = ", ".join(f"{severities[name]} {name}" for name in ("P0", "P1", "P2"))
    mapped = sum(one.id in rules.controls for one in rules.policies)
    yield "# The policies and the catalogues"
    yield ""
    yield (
        "Made by [policy_list.py](policy_list.py) from [`policies/`](../../policies); do not edit. "
        "What a policy is, and what facts prove: [policies](policies.md). One of them whole: "
        "`anlan policy show POLICY`. What evidences which control, and what stays unproven: "
        "`anlan policy coverage`."
    )
    yield ""
    yield f"{len(rules.policies)} policies: {told}. {mapped} of them evidence a control."
    yield ""
    yield "## Catalogues"
    yield ""
    yield "| catalogue | text | edition | controls | with evidence |"
    yield "| --- | --- | --- | --- | --- |"
    for catalogue in rules.catalogues.values():
        yield _catalogue(catalogue)
    for name in sorted(texts):
        if "/" not in name:
            yield ""
            yield f"## {name.removesuffix('.yaml')}"
            yield ""
            yield f"[`policies/{name}`](../../policies/{name})"
            yield ""
            yield "| policy | severity | what must be true | facts | controls |"
            yield "| --- | --- | --- | --- | --- |"
            for policy in parse_policies(texts[name]):
                yield _policy(policy, rules)


def _catalogue(one: Catalogue) -> str:
    covered = mapping(one)
    evidenced = sum(bool(control.parts) for control in covered.controls)
    title = f"{one.title['en']}<br>{one.title['zh']}"
    link = f"[`{one.id}`](../../policies/catalogues/{one.id}.yaml)"
    return _row(link, f"[{one.name}]({one.source}): {title}", one.edition, len(one.controls),
                f"{evidenced} ({covered.mapped_percent:g} %)")  # fmt: skip


def _policy(one: Policy, rules: Rules) -> str:
    controls: dict[str, list[str]] = {}
    for control in rules.controls.get(one.id, ()):
        controls.setdefault(control.source, []).append(control.id)
    told = "<br>".join(f"{source}: {', '.join(ids)}" for source, ids in controls.items())
    title = f"{one.title['en']}<br>{one.title['zh']}"
    return _row(f"`{one.id}`", one.severity, title, f"`{one.kind}`", told or "–")


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    PAGE.write_text(render(ROOT / "policies"))
