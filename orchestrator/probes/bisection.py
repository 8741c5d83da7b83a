"""Bisection: the last clean one of a row of states, of which each after a damaged one is damaged.

Invariant of the loop: `low` was seen to be clean and `high` to be damaged, so the border lies
between them; each question halves the distance, and the border is found when they are neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable


def last_clean(last: int, is_damaged: Callable[[int], bool]) -> int | None:
    """The last clean one of the states 0 … `last`; None when already the first is damaged.

    Both ends are asked first (0, then `last`): nothing is assumed of them.
    """
    if is_damaged(0):
        return None
    if not is_damaged(last):
        return last
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) // 2
        if is_damaged(middle):
            high = middle
        else:
            low = middle
    return low


def most_questions(last: int) -> int:
    """How many questions `last_clean` asks at most: both ends, and log2 of the distance."""
    return 2 + math.ceil(math.log2(max(last, 1)))
