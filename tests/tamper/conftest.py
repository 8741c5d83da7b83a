"""The good bundle, that of a failed drill, and a thief."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.evidence import LocalSigner

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))  # run_samples

from forgers import FAILED, SAMPLE, TWINS, Good, build

from tests.standalone import Twin


@pytest.fixture(scope="session", autouse=True)
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    """The standalone verifier beside: `Good.check` asks it too."""
    made = Twin(tmp_path_factory.mktemp("twin"))
    TWINS.append(made)
    yield made
    TWINS.clear()
    made.close()


@pytest.fixture(scope="session")
def signer() -> LocalSigner:
    return LocalSigner(Ed25519PrivateKey.generate())


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory, signer: LocalSigner) -> Good:
    return build(tmp_path_factory.mktemp("good"), SAMPLE, signer)


@pytest.fixture(scope="session")
def failed(tmp_path_factory: pytest.TempPathFactory, signer: LocalSigner) -> Good:
    """The evidence of a drill that failed: four transactions lost, an endpoint below policy."""
    return build(tmp_path_factory.mktemp("failed"), FAILED, signer)


@pytest.fixture(scope="session")
def thief(
    tmp_path_factory: pytest.TempPathFactory, signer: LocalSigner
) -> Callable[[Callable[[Path], None]], Good]:
    """Record the failed drill with a result changed before signing, with the environment's key."""

    def forge(meddle: Callable[[Path], None]) -> Good:
        return build(tmp_path_factory.mktemp("thief"), FAILED, signer, meddle)

    return forge
