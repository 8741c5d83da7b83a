"""A folder of rules, parsed: policies, baselines, catalogues of controls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from orchestrator.model.catalogue import Catalogue, parse_catalogue
from orchestrator.model.errors import InputError
from orchestrator.model.policy import Control, Policy, parse_baseline, parse_policies
from orchestrator.model.schema import nearest
from orchestrator.model.yaml_text import located

BASELINE_FOLDER, CATALOGUES_FOLDER = "baseline/", "catalogues/"


@dataclass(frozen=True)
class Rules:
    """The policies in order of file and position, the baseline's lists, the catalogues by id.

    `files` are the ids of the policies of each file, by its name without the ending.
    """

    policies: tuple[Policy, ...]
    files: Mapping[str, tuple[str, ...]]
    baseline: Mapping[str, list[str]]
    catalogues: Mapping[str, Catalogue]

    def chosen(self, names: Iterable[str]) -> list[Policy]:
        """Return the policies that are named, by their id or their file, each once.

        Raises InputError for a name that is neither.
        """
        ids: set[str] = set()
        known = {one.id for one in self.policies}
        for name in names:
            if name not in known and name not in self.files:
                raise InputError(
                    f"there is no policy or file of policies {name!r}",
                    nearest(name, (*known, *self.files)),
                )
            ids |= {name} if name in known else set(self.files[name])
        return [one for one in self.policies if one.id in ids]

    def catalogue(self, name: str) -> Catalogue:
        """Return a catalogue by its id. Raises InputError with the nearest name."""
        if name not in self.catalogues:
            known = ", ".join(self.catalogues) or "none: write policies/catalogues/NAME.yaml"
            todo = nearest(name, self.catalogues) or f"the catalogues are {known}"
            raise InputError(f"there is no catalogue {name!r}", todo, path="--catalogue")
        return self.catalogues[name]

    @cached_property
    def controls(self) -> dict[str, tuple[Control, ...]]:
        """The controls that each policy is evidence for, by its id."""
        found: dict[str, tuple[Control, ...]] = {}
        for catalogue in self.catalogues.values():
            for one in catalogue.controls:
                reference = Control(catalogue.name, one.id, one.threshold)
                for policy in one.policies:
                    found[policy] = (*found.get(policy, ()), reference)
        return found


def decode_rules(files: Mapping[str, bytes], *, folder: str = "policies") -> dict[str, str]:
    """Return a policies folder as text. Raises InputError naming a file that is not UTF-8."""
    texts: dict[str, str] = {}
    for name, content in files.items():
        try:
            texts[name] = content.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"not UTF-8: {error.reason}", file=f"{folder}/{name}") from error
    return texts


def parse_rules(files: Mapping[str, str], *, folder: str = "policies") -> Rules:
    """Return the rules of a policies folder given as relative path → text.

    `baseline/*.yaml` are baselines, `catalogues/*.yaml` catalogues, other `*.yaml` of the top
    level policies; files of other folders are no rules. Raises InputError with file and line: also
    for an id or a list that two files define, and for a policy that a catalogue only names.
    """
    policies: dict[str, Policy] = {}
    groups: dict[str, tuple[str, ...]] = {}
    baseline: dict[str, list[str]] = {}
    catalogues: dict[str, Catalogue] = {}
    origin: dict[tuple[str, str], str] = {}

    def first(kind: str, name: str, file: str) -> None:
        if (kind, name) in origin:
            raise InputError(
                f"{kind} {name!r} is already defined in {origin[kind, name]}",
                "give one of them another name",
                file=file,
            )
        origin[kind, name] = file

    for name in sorted(files):
        file = f"{folder}/{name}"
        if not name.endswith((".yaml", ".yml")):
            continue
        if name.startswith(BASELINE_FOLDER):
            for key, names in parse_baseline(files[name], file=file).items():
                first("list", key, file)
                baseline[key] = names
        elif name.startswith(CATALOGUES_FOLDER):
            catalogue = parse_catalogue(files[name], file=file)
            first("catalogue", catalogue.id, file)
            catalogues[catalogue.id] = catalogue
        elif "/" not in name:
            found = parse_policies(files[name], file=file)
            groups[PurePosixPath(name).stem] = tuple(policy.id for policy in found)
            for policy in found:
                first("policy", policy.id, file)
                policies[policy.id] = policy
    for key, catalogue in catalogues.items():
        file = origin["catalogue", key]
        _check_names(catalogue, policies, files[file.removeprefix(f"{folder}/")], file)
    return Rules(tuple(policies.values()), groups, baseline, catalogues)


def _check_names(
    catalogue: Catalogue, policies: Mapping[str, Policy], text: str, file: str
) -> None:
    for number, control in enumerate(catalogue.controls):
        for position, policy in enumerate(control.policies):
            if policy not in policies:
                path = f"$.controls[{number}].policies[{position}]"
                raise InputError(
                    f"there is no policy {policy!r}",
                    nearest(policy, policies),
                    file=located(text, path, file=file),
                    path=path,
                )
