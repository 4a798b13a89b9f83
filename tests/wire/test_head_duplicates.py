"""A body that passes on as it came must mean the same to us and to the upstream: a field that we decide on stands there once."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import BadRequest, DuplicateField
from wire.peek import DECIDED, read_head

VALUES = {
    "model": '"a"',
    "stream": "true",
    "echo": "true",
    "store": "true",
    "stream_options": "{}",
    "previous_response_id": '"a"',
    "service_tier": '"a"',
}


def value_of(name: str) -> str:
    return VALUES.get(name, "1" if name in ("max_tokens", "max_completion_tokens", "n", "best_of") else "[]")


@pytest.mark.parametrize("name", [name.decode() for name in DECIDED])
def test_a_decided_field_twice_is_refused(name: str) -> None:
    body = f'{{"{name}":{value_of(name)},"x":0,"{name}":{value_of(name)}}}'

    with pytest.raises(DuplicateField) as refusal:
        read_head(body.encode())

    assert refusal.value.param == name
    assert refusal.value.status == 400


@pytest.mark.parametrize("name", [name.decode() for name in DECIDED])
def test_a_decided_field_is_found_through_escapes(name: str) -> None:
    escaped = f"\\u{ord(name[0]):04X}{name[1:]}"

    with pytest.raises(DuplicateField):
        read_head(f'{{"{name}":{value_of(name)},"{escaped}":{value_of(name)}}}'.encode())


@pytest.mark.parametrize("name", ["Model", "MODEL", "mode\\u004c", "Max_Tokens", "\u017ftream", "N", "tool\u017f", "Messages"])
def test_other_letters_that_go_takes_for_the_same_field_are_refused(name: str) -> None:
    with pytest.raises(DuplicateField):
        read_head(f'{{"model":"a","{name}":1}}'.encode())


@pytest.mark.parametrize("options", ['{"include_usage":true,"include_usage":false}', '{"include_usage":true,"Include_usage":false}'])
def test_a_decided_field_inside_stream_options_stands_once(options: str) -> None:
    with pytest.raises(DuplicateField):
        read_head(f'{{"stream_options":{options}}}'.encode())


def test_one_escaped_name_is_read_as_the_name() -> None:
    assert read_head(b'{"\\u006dodel":"a"}').model == "a"


@pytest.mark.parametrize("body", [b'{"user":"a","user":"b"}', b'{"messages":[{"model":"a","model":"b"}]}', b'{"metadata":{"model":1,"Model":2}}'])
def test_fields_that_we_do_not_decide_on_may_do_what_they_like(body: bytes) -> None:
    read_head(body)


names = st.sampled_from(["model", "Model", "n", "user", "modeL ", "models", "temperature", "\u212a", "x"])
escapes = st.lists(st.booleans(), min_size=12, max_size=12)
blanks = st.sampled_from(["", " ", "\n\t "])


def written(name: str, escaped: list[bool]) -> str:
    return "".join(f"\\u{ord(char):04x}" if escape else char for char, escape in zip(name, escaped, strict=False))


@given(fields=st.lists(st.tuples(names, escapes, blanks, blanks), max_size=6))
def test_duplicates_are_found_as_a_full_parser_finds_them(fields: list[tuple[str, list[bool], str, str]]) -> None:
    values = {"model": '"m"', "Model": "0"}
    body = (
        "{" + ",".join(f'{left}"{written(name, escaped)}"{right}:{left}{values.get(name, "1")}{right}' for name, escaped, left, right in fields) + "}"
    )
    pairs: list[tuple[str, Any]] = json.loads(body, object_pairs_hook=list)
    decided = [name.casefold() for name, _ in pairs if name.casefold().encode() in DECIDED]
    refused = len(set(decided)) < len(decided) or any(name == "Model" for name, _ in pairs)

    if refused:
        with pytest.raises(BadRequest):
            read_head(body.encode())
    else:
        assert [name for name, _ in read_head(body.encode()).fields] == [name for name, _ in pairs]
