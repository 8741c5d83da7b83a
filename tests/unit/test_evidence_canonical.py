"""Canonical JSON (RFC 8785) and the strict reader."""

from __future__ import annotations

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.canonical import (
    StrictJsonError,
    canonical,
    canonical_loads,
    digest,
    same_json,
    strict_lines,
    strict_loads,
)


def double(hex_bits: str) -> float:
    return struct.unpack(">d", bytes.fromhex(hex_bits))[0]


# RFC 8785, appendix B: IEEE 754 bits and their JSON form.
@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555555", "333333333.3333333"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_take_the_form_of_the_rfcs_appendix(bits: str, text: str) -> None:
    assert canonical(double(bits)).decode() == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2**53, -(2**53), "\ud800"])
def test_what_json_cannot_carry_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        canonical(value)


def test_keys_are_sorted_by_utf16_units_as_in_the_rfc() -> None:
    # RFC 8785, 3.2.3: a surrogate pair (U+1F600) comes before U+FB33.
    data = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\u00f6": 7}
    order = list(json.loads(canonical(data)).values())
    assert order == [2, 4, 6, 7, 1, 5, 3]


def test_strings_are_escaped_as_in_the_rfc() -> None:
    text = "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/"
    assert canonical(text) == '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'.encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"a":1,"a":1}', "duplicate key 'a'"),
        (b'{"b":{"a":1,"\\u0061":2}}', "duplicate key 'a'"),
        (b"[NaN]", "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"[-Infinity]", "Infinity"),
        (b"\xef\xbb\xbf[]", "BOM"),
        (b'"\xff"', "utf-8"),
        (b"[1] []", "Extra data"),
        (b"", "Expecting value"),
        (b"[" * 101 + b"]" * 101, "nested deeper"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "nested deeper"),
        (b"[" * 100_000, "recursion"),
        (b"1" * 10_000, "digits"),
    ],
)
def test_the_strict_reader_refuses_what_readers_take_differently(
    content: bytes, reason: str
) -> None:
    with pytest.raises(StrictJsonError, match=reason):
        strict_loads(content)


def test_many_values_side_by_side_are_not_deep() -> None:
    assert len(strict_loads(b"[" + b"[[]]," * 5000 + b"[]]")) == 5001
    assert strict_loads(b"[" * 100 + b"]" * 100)


@pytest.mark.parametrize(
    "content",
    [
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b"[1.0]",
        b"[1e2]",
        b"[-0]",
        b"[0.10]",
        b'["\\u0041"]',
        b'["\\/"]',
        b"[1]\n",
        b"[9007199254740993]",
        b'["\\ud800"]',
        b'["\\u00E9"]',
    ],
)
def test_a_second_spelling_of_the_same_data_is_not_canonical(content: bytes) -> None:
    with pytest.raises(StrictJsonError):
        canonical_loads(content)


def test_composed_and_decomposed_text_are_different_data() -> None:
    assert canonical("é") != canonical("e\u0301")
    assert canonical_loads(canonical("e\u0301")) == "e\u0301"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_the_canonical_form_is_one_and_reads_back(data: object) -> None:
    form = canonical(data)
    read = canonical_loads(form)
    assert read == data
    assert canonical(read) == form
    assert digest(read) == digest(data)


@given(JSON)
def test_data_are_the_same_as_themselves_read_again(data: object) -> None:
    assert same_json(data, strict_loads(json.dumps(data).encode()))
    assert same_json(data, canonical_loads(canonical(data)))


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}, True),
        (-0.0, 0, True),
        ([1], [True], False),
        ({"a": [0.0]}, {"a": [False]}, False),
        ({"a": None}, {}, False),
        (2**60, float(2**60), False),
        ([], {}, False),
        ("\u00e9", "e\u0301", False),
    ],
)
def test_true_is_no_number_and_1_is_1_0(left: object, right: object, same: bool) -> None:
    assert same_json(left, right) is same
    assert same_json([left], [right]) is same


LINES = [
    b'{"a":1}',
    b' {"a":1}\r',
    b"null",
    b'{"a":1,"a":2}',
    b"[NaN]",
    b"\xef\xbb\xbf[]",
    b'{"a":',
    b"1,2",
    b"[1",
    b"2]",
    b"",
    b'"\\ud800"',
    b'"\\ud83d\\ude00"',
    b"[" * 101 + b"1" + b"]" * 101,
    b"[" * 100 + b"]" * 100,
    b'"' + b"[" * 200 + b'"',
    b"1" * 5000,
    b'"\xff"',
]


TEXTS = st.recursive(
    st.sampled_from(["1", "-0.5", "null", '":"', '"a:b"', '"\\":"', "NaN", "{}", "[]"]),
    lambda inner: (
        st.lists(
            st.tuples(st.sampled_from(['"a":', '"b":', '"c" :', '"\\u0061":']), inner), max_size=4
        ).map(lambda pairs: "{" + ",".join(map("".join, pairs)) + "}")
        | st.lists(inner, max_size=3).map(lambda items: "[" + ",".join(items) + "]")
    ),
    max_leaves=6,
)
"""JSON in which keys may be there twice, at any depth, in two spellings, with colons in texts."""


@given(st.lists(st.sampled_from(LINES) | TEXTS.map(str.encode), max_size=6))
def test_lines_are_read_as_each_of_them_alone(lines: list[bytes]) -> None:
    alone = []
    for line in lines:
        try:
            alone.append(strict_loads(line))
        except StrictJsonError:
            continue
    assert strict_lines(b"\n".join(lines)) == [one for one in alone if one is not None]


@pytest.mark.parametrize(
    "number", ["1e-7", "[1.5e+300]", "-1234567890123456", '{"a":9007199254740993}']
)
def test_numbers_that_writers_spell_differently_are_read_by_the_rfc(number: str) -> None:
    data = json.loads(number)
    try:
        expected = canonical(data) == number.encode()
    except ValueError:
        expected = False
    try:
        accepted = same_json(canonical_loads(number.encode()), data)
    except StrictJsonError:
        accepted = False
    assert accepted == expected
