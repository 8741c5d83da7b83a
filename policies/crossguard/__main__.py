"""The policies of the folder above, and those of `rules/`, before anything is deployed."""

from pathlib import Path

from pulumi_policy import PolicyPack

from stacks.planned.pack import policies

PolicyPack("anlan", policies(Path(__file__).resolve().parents[1]))
