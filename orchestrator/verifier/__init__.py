"""The standalone verifier: `anlan evidence verify` as one file that needs no Anlan."""

from orchestrator.verifier.build import Archive, build

__all__ = ["Archive", "build"]
