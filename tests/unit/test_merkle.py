"""The Merkle tree against the definition of RFC 6962 and its published vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest

from orchestrator.evidence.tlog import merkle, tiles

# The eight leaves of the reference vectors of RFC 6962's own implementation.
LEAVES = [
    bytes.fromhex(one)
    for one in (
        "", "00", "10", "2021", "3031", "40414243",
        "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def defined(leaves: Sequence[bytes]) -> bytes:
    """MTH(D[n]), word for word as in RFC 6962, section 2.1."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + defined(leaves[:k]) + defined(leaves[k:])).digest()


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_those_of_the_published_vectors(size: int) -> None:
    hashes = [merkle.leaf_hash(one) for one in LEAVES[:size]]
    assert merkle.root_of(hashes).hex() == ROOTS[size]
    assert merkle.root(size, merkle.subtrees_of(hashes)).hex() == ROOTS[size]


def test_inclusion_holds_for_each_leaf_in_its_own_place_alone() -> None:
    for size in range(1, 34):
        leaves = [b"leaf %d" % number for number in range(size)]
        hashes = [merkle.leaf_hash(one) for one in leaves]
        root = defined(leaves)
        for index in range(size):
            path = merkle.inclusion(index, size, merkle.subtrees_of(hashes))
            merkle.check_inclusion(hashes[index], index, size, path, root)
            for other in range(size):
                if other != index:
                    with pytest.raises(merkle.ProofError):
                        merkle.check_inclusion(hashes[index], other, size, path, root)
            for changed in (path[:-1], [*path, root], [*path[1:], root]):
                if changed != path:
                    with pytest.raises(merkle.ProofError):
                        merkle.check_inclusion(hashes[index], index, size, changed, root)
    with pytest.raises(ValueError, match="no leaf"):
        merkle.inclusion(3, 3, merkle.subtrees_of([]))


def test_consistency_holds_between_the_true_trees_alone() -> None:
    leaves = [b"leaf %d" % number for number in range(33)]
    roots = [defined(leaves[:size]) for size in range(34)]
    subtree = merkle.subtrees_of([merkle.leaf_hash(one) for one in leaves])
    for new in range(34):
        for old in range(new + 1):
            path = merkle.consistency(old, new, subtree)
            merkle.check_consistency(old, roots[old], new, roots[new], path)
            if 0 < old < new:
                for wrong in (
                    (old, roots[new], new, roots[new], path),
                    (old, roots[old], new, roots[old], path),
                    (old, roots[old], new, roots[new], path[:-1]),
                    (old, roots[old], new, roots[new], [*path, roots[0]]),
                    (new, roots[new], old, roots[old], path),
                ):
                    with pytest.raises(merkle.ProofError):
                        merkle.check_consistency(*wrong)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000])
def test_the_tiles_are_those_of_the_specification(size: int) -> None:
    """Grown at once and in parts, they hold every leaf and lead to the root."""
    leaves = [b"%d" % number for number in range(size)]
    files, root = tiles.grow(0, leaves, lambda path: None)
    assert set(files) == set(tiles.paths(size))
    assert root == merkle.root_of(map(merkle.leaf_hash, leaves))
    grown: dict[str, bytes] = {}
    at = 0
    for step in (1, 100, 155, 1, 300, size):
        more = leaves[at : at + step]
        if more:
            made, last = tiles.grow(at, more, grown.get)
            grown |= made
            at += len(more)
            assert last == merkle.root_of(map(merkle.leaf_hash, leaves[:at]))
    assert {path: grown[path] for path in files} == files
    assert list(tiles.entries(size, grown.get)) == leaves
    subtree = tiles.subtrees(size, grown.get)
    for index in {0, size // 2, size - 1}:
        path = merkle.inclusion(index, size, subtree)
        merkle.check_inclusion(merkle.leaf_hash(leaves[index]), index, size, path, root)


def test_the_tiles_of_70_000_entries_are_those_that_the_specification_names() -> None:
    paths = list(tiles.paths(70_000))
    assert paths.count("tile/0/273.p/112") == 1
    assert sum(path.startswith("tile/0/") for path in paths) == 274
    assert [path for path in paths if path.startswith(("tile/1/", "tile/2/"))] == [
        "tile/1/000",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    ]
    assert tiles.tile_path(None, 1_234_067) == "tile/entries/x001/x234/067"


@pytest.mark.parametrize("content", [None, b"", b"\x00\x03ab", b"\x00\x01a\x00\x01b"])
def test_a_tile_that_is_not_whole_is_named(content: bytes | None) -> None:
    with pytest.raises(tiles.TileError) as caught:
        list(tiles.entries(1, lambda path: content))
    assert caught.value.path == "tile/entries/000.p/1"
