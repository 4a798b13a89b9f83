"""Fields are replaced in a body without touching any other value, not even how it is written."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import BadRequest, InvalidJSON
from wire.peek import fields_of, read_head, replace_fields, with_changes


def test_a_field_is_replaced_in_its_place_added_at_the_end_or_removed() -> None:
    raw = b'{"model":"a","n":1,"user":"u"}'

    assert replace_fields(raw, {"model": b'"b"'}) == b'{"model":"b","n":1,"user":"u"}'
    assert replace_fields(raw, {"n": None}) == b'{"model":"a","user":"u"}'
    assert (
        replace_fields(raw, {"stream_options": b'{"include_usage":true}'})
        == b'{"model":"a","n":1,"user":"u","stream_options":{"include_usage":true}}'
    )
    assert replace_fields(raw, {"absent": None}) == raw


def test_an_empty_object_can_be_filled_and_emptied() -> None:
    assert replace_fields(b"{}", {"a": b"1"}) == b'{"a":1}'
    assert replace_fields(b' { "a" : 1 } ', {"a": None}) == b"{}"
    assert replace_fields(b"{ }", {}) == b"{}"


def test_numbers_escapes_and_blanks_inside_values_survive() -> None:
    raw = b'{"seed": 12345678901234567890123, "temperature":1.10e+0,"stop":"\\u0041\\/", "x":{ "b":1,"b" : 2 }, "model":"a"}'

    changed = replace_fields(raw, {"model": b'"b"'})

    assert changed == b'{"seed":12345678901234567890123,"temperature":1.10e+0,"stop":"\\u0041\\/","x":{ "b":1,"b" : 2 },"model":"b"}'


def test_a_name_with_escapes_is_found_and_other_names_survive() -> None:
    assert json.loads(replace_fields(b'{"mod\\u0065l":"a","\\"\\n\\u4f60":1}', {"model": b'"b"'})) == {"model": "b", '"\n你': 1}


def test_a_field_that_stands_twice_is_replaced_once() -> None:
    assert replace_fields(b'{"a":1,"b":2,"a":3}', {"a": b"9"}) == b'{"a":9,"b":2}'


def test_the_fields_of_a_head_need_no_second_look_at_the_body() -> None:
    head = read_head(b'{"model":"a","messages":[]}')

    assert with_changes(head.fields, {"model": b'"b"'}) == b'{"model":"b","messages":[]}'
    assert with_changes(head.fields, {}) == b'{"model":"a","messages":[]}'


@pytest.mark.parametrize(("raw", "error"), [(b"[]", BadRequest), (b"{", InvalidJSON), (b'{"a":' + b"[" * 100_000, InvalidJSON)])
def test_what_is_no_object_is_refused(raw: bytes, error: type[BadRequest]) -> None:
    with pytest.raises(error):
        replace_fields(raw, {"a": b"1"})


values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from(["", "a", '"', "\\", "\u4f60", "\n"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", '"', "model"]), inner, max_size=3)),
    max_leaves=10,
)
names = st.sampled_from(["model", "messages", "x", '"', "\u4f60", "a\\b", ""])


@given(
    before=st.dictionaries(names, values, max_size=5),
    changes=st.dictionaries(names, st.one_of(st.none(), values.map(lambda value: json.dumps(value).encode())), max_size=3),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
)
def test_all_other_values_are_preserved(before: dict[str, Any], changes: dict[str, bytes | None], indent: int | None, ascii_only: bool) -> None:
    raw = json.dumps(before, indent=indent, ensure_ascii=ascii_only).encode()

    after = replace_fields(raw, changes)

    expected = {name: value for name, value in before.items() if name not in changes}
    expected |= {name: json.loads(value) for name, value in changes.items() if value is not None}
    assert json.loads(after) == expected
    kept = {name: bytes(value) for name, value in fields_of(raw) if name not in changes}
    assert {name: bytes(value) for name, value in fields_of(after) if name in kept} == kept
