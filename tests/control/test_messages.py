"""The lines of the control protocol, in and out."""

import json
import time
from typing import Any

import pytest

from manyhands.control.messages import (
    DEEPEST,
    Lines,
    Refusal,
    error_line,
    notification,
    read_request,
    result,
)
from manyhands.control.protocol import LONGEST_REQUEST, Code


def request(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "status", **members}).encode()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_lines_come_whole_however_they_are_cut(size: int) -> None:
    lines, told, sent = Lines(), [], b'{"a":1}\n\n  \n{"b":2}\r\nx\n{"c'
    for start in range(0, len(sent), size):
        told += lines.cut(sent[start : start + size])
    assert told == [b'{"a":1}', b'{"b":2}\r', b"x"]
    assert lines.is_amid


def test_a_line_of_the_longest_length_is_taken_and_a_longer_one_ends_it() -> None:
    assert [*Lines().cut(b"x" * (LONGEST_REQUEST - 1) + b"\n")]
    for line in (b"x" * LONGEST_REQUEST + b"\n", b"x" * LONGEST_REQUEST):
        with pytest.raises(Refusal, match="more than 65536 bytes") as refused:
            list(Lines().cut(line))
        assert refused.value.code == Code.TOO_LONG


def test_a_request_has_its_id_verb_and_params() -> None:
    read = read_request(request(id="x", method="connections.get", params={"id": "7"}))
    assert (read.id, read.verb, read.params) == ("x", "connections.get", {"id": "7"})
    assert not read.is_notification
    assert read_request(b'{"jsonrpc":"2.0","method":"drain"}').is_notification


@pytest.mark.parametrize(
    ("line", "code", "sentence"),
    [
        (b"\xff\xfe", Code.NO_JSON, "no UTF-8"),
        (b"hello", Code.NO_JSON, "no JSON"),
        (b'{"jsonrpc":"2.0"', Code.NO_JSON, "no JSON"),
        (request()[:-1] + b',"x":NaN}', Code.NO_JSON, "NaN is no number"),
        (request()[:-1] + b',"x":-Infinity}', Code.NO_JSON, "no number in JSON"),
        (request()[:-1] + b',"x":1e999}', Code.NO_JSON, "too large a number"),
        (request()[:-1] + b',"x":' + b"9" * 5000 + b"}", Code.NO_JSON, "no JSON"),
        (b"[" * 60_000, Code.NO_JSON, f"more than {DEEPEST} lists"),
        (b'{"a":' * 10_000, Code.NO_JSON, f"more than {DEEPEST} lists"),
        (b"[" + request() + b"]", Code.NO_REQUEST, "batches"),
        (b"[]", Code.NO_REQUEST, "batches"),
        (b"7", Code.NO_REQUEST, "a request is an object"),
        (request(jsonrpc="1.0"), Code.NO_REQUEST, "a request has jsonrpc"),
        (request(method=7), Code.NO_REQUEST, "a request has jsonrpc"),
        (request(id=[]), Code.NO_REQUEST, "a text or a number"),
        (request(id=True), Code.NO_REQUEST, "a text or a number"),
        (request(params=[1]), Code.BAD_PARAMS, "an object of names"),
    ],
)
def test_what_is_no_request_is_refused_in_a_sentence(
    line: bytes, code: Code, sentence: str
) -> None:
    with pytest.raises(Refusal, match=sentence) as refused:
        read_request(line)
    assert refused.value.code == code


def test_a_refusal_has_the_id_of_its_request() -> None:
    with pytest.raises(Refusal) as refused:
        read_request(request(id="mine", params=[]))
    answer = json.loads(error_line(refused.value))
    assert (answer["id"], answer["error"]["code"]) == ("mine", -32602)


@pytest.mark.parametrize(
    ("members", "is_silent"),
    [
        ({"method": "status", "params": [1]}, True),
        ({"method": "status", "params": [1], "id": None}, False),
        ({"method": 1}, False),
        ({}, False),
    ],
)
def test_a_notification_is_not_answered_and_what_is_no_request_is(
    members: dict[str, Any], is_silent: bool
) -> None:
    with pytest.raises(Refusal) as refused:
        read_request(json.dumps({"jsonrpc": "2.0", **members}).encode())
    assert refused.value.is_silent is is_silent


@pytest.mark.parametrize(("rest", "last"), [(b"x", [b"x"]), (b" \r", []), (b"", [])])
def test_the_last_line_may_have_no_end(rest: bytes, last: list[bytes]) -> None:
    lines = Lines()
    assert list(lines.cut(b"a\n" + rest)) == [b"a"]
    assert list(lines.last()) == last
    assert not lines.is_amid


def test_brackets_within_a_text_are_no_depth() -> None:
    text = '[{"' * 1000 + "\\"
    assert read_request(request(params={"text": text})).params == {"text": text}


@pytest.mark.parametrize("part", ['\\"', '"', "\\", '"\\', '"[', "[{", '\\"[]'])
def test_the_longest_line_takes_no_time_to_refuse_whatever_it_is_made_of(part: str) -> None:
    start = b"[" * (DEEPEST + 1) + b'"'
    line = (start + part.encode() * LONGEST_REQUEST)[: LONGEST_REQUEST - 1]
    began = time.thread_time()
    with pytest.raises(Refusal):
        read_request(line)
    assert time.thread_time() - began < 0.1


def test_each_line_out_is_one_line_whatever_is_in_it() -> None:
    hostile = "a\nb\r\x1b[2J\u2028\udc80"
    for line in (result(hostile, {hostile: [hostile]}), notification("events", {"x": hostile})):
        assert line.count(b"\n") == 1
        assert line.endswith(b"\n")
        assert line.isascii()
        assert b"\x1b" not in line
    assert json.loads(result(hostile, None))["id"] == hostile
