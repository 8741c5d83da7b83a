"""The Merkle tree of an append-only log: hashes, roots, inclusion and consistency proofs.

RFC 6962, section 2.1 (the same as RFC 9162, section 2.1). Everything here is pure: the hash of a
perfect subtree comes from a function `subtree(level, index)`, which hashes the leaves from
`index << level` up to `(index + 1) << level`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256().digest()

Subtree = Callable[[int, int], bytes]


class ProofError(ValueError):
    """A proof that does not hold."""


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of one leaf (32 bytes)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash over two subtrees (32 bytes)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Return the hash over 2^k subtrees of one size; k may be 0."""
    level = list(hashes)
    while len(level) > 1:
        level = [
            node_hash(left, right) for left, right in zip(level[::2], level[1::2], strict=True)
        ]
    return level[0]


def root(size: int, subtree: Subtree) -> bytes:
    """Return the root of a tree of `size` leaves."""
    return _range(0, size, subtree) if size else EMPTY_ROOT


def root_of(hashes: Iterable[bytes]) -> bytes:
    """Return the root over the hashes of all leaves, read once; memory stays flat."""
    edge: list[tuple[int, bytes]] = []  # perfect subtrees from the left: (level, hash)
    for one in hashes:
        level, value = 0, one
        while edge and edge[-1][0] == level:
            level, value = level + 1, node_hash(edge.pop()[1], value)
        edge.append((level, value))
    if not edge:
        return EMPTY_ROOT
    value = edge.pop()[1]
    while edge:
        value = node_hash(edge.pop()[1], value)
    return value


def subtrees_of(hashes: Sequence[bytes]) -> Subtree:
    """Return the subtrees over the hashes of all leaves; each is computed once."""

    @cache
    def subtree(level: int, index: int) -> bytes:
        if level == 0:
            return hashes[index]
        return node_hash(subtree(level - 1, 2 * index), subtree(level - 1, 2 * index + 1))

    return subtree


def inclusion(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return the audit path of leaf `index` in a tree of `size`, from its sibling up."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} has no leaf {index}")
    path: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range(middle, high, subtree))
            high = middle
        else:
            path.append(_range(low, middle, subtree))
            low = middle
    return path[::-1]


def consistency(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """Return the proof that a tree of `new` leaves continues its first `old` ones."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} does not continue one of {old}")
    path: list[bytes] = []
    low, high = 0, new
    while old not in {0, high}:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(_range(middle, high, subtree))
            high = middle
        else:
            path.append(_range(low, middle, subtree))
            low = middle
    if low:  # the old tree ends inside: its last perfect subtree is not the old root
        path.append(_range(low, high, subtree))
    return path[::-1] if 0 < old < new else []


def check_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes
) -> None:
    """Check that the leaf with this hash is number `index` of the tree. Raises ProofError.

    RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size:
        raise ProofError(f"a tree of {size} has no leaf {index}")
    position, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofError("the inclusion proof is too long")
        if position & 1 or position == last:
            value = node_hash(sibling, value)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        position, last = position >> 1, last >> 1
    if last or value != expected:
        raise ProofError(f"leaf {index} is not in the tree of {size}")


def check_consistency(
    old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree of `new` leaves continues the one of `old`. Raises ProofError.

    RFC 9162, section 2.1.4.2.
    """
    if old > new:
        raise ProofError(f"a tree of {new} does not continue one of {old}")
    if old in {0, new}:
        if proof or old_root != (EMPTY_ROOT if old == 0 else new_root):
            raise ProofError(f"the trees of {old} and {new} differ")
        return
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        raise ProofError("the consistency proof is empty")
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    before = after = path[0]
    for one in path[1:]:
        if last == 0:
            raise ProofError("the consistency proof is too long")
        if position & 1 or position == last:
            before, after = node_hash(one, before), node_hash(one, after)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            after = node_hash(after, one)
        position, last = position >> 1, last >> 1
    if last or before != old_root or after != new_root:
        raise ProofError(f"the tree of {new} does not continue the tree of {old}")


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _range(low: int, high: int, subtree: Subtree) -> bytes:
    """The hash over the leaves from `low` (where a subtree begins) up to `high`."""
    count = high - low
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return subtree(level, low >> level)
    middle = low + _split(count)
    return node_hash(_range(low, middle, subtree), _range(middle, high, subtree))
