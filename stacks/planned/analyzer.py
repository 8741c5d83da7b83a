"""`pulumi-analyzer-policy-anlan`: what Pulumi runs for a policy pack with `runtime: anlan`."""

from __future__ import annotations

import runpy


def main() -> None:
    """Serve the pack in the current directory, in the Python environment of `anlan`."""
    runpy.run_module("pulumi.policy", run_name="__main__", alter_sys=True)
