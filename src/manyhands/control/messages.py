"""The control protocol's lines: JSON-RPC 2.0, one object a line, in and out. No I/O.

See https://www.jsonrpc.org/specification. Batches are not part of this protocol: each line has its answer.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, Self

from manyhands.control.protocol import LONGEST_REQUEST, Code

DEEPEST = 32
"""Lists and objects in each other: a request needs three. The parser itself is limited by its stack alone."""

RequestId = str | int | float | None


class Refusal(Exception):  # noqa: N818 - an answer, and no error of the program's
    """What a client asked for is not done: the code, and a sentence that says why."""

    def __init__(self, code: Code, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.request_id: RequestId = None
        """The id of the request, where it could be read."""

        self.is_silent = False
        """Whether the client wants no answer: it is one to a notification."""

    def of(self, request_id: RequestId) -> Self:
        """Return it as the answer to a request."""
        self.request_id = request_id
        return self


class Request(NamedTuple):
    """What a client asks for.

    Attributes
    ----------
    id : RequestId
        What the answer is to have, too.
    is_notification : bool
        Whether no answer is wanted.
    verb : str
        What to do.
    params : dict
        With what, by the names of the parameters.
    """

    id: RequestId
    is_notification: bool
    verb: str
    params: dict[str, Any]


class Lines:
    """Cuts what comes from a client into its lines.

    Parameters
    ----------
    longest
        The bytes of a line, with its end, at the most.
    """

    def __init__(self, longest: int = LONGEST_REQUEST) -> None:
        self._longest = longest
        self._rest = bytearray()
        self._searched = 0

    @property
    def is_amid(self) -> bool:
        """Whether a line has begun, and its end has not come."""
        return bool(self._rest)

    def cut(self, data: bytes) -> Iterator[bytes]:
        """Take what has come, and yield its whole lines, without their ends; empty ones are passed over.

        Raises
        ------
        Refusal
            A line is too long. Nothing after that can be told apart.
        """
        self._rest += data
        while (end := self._rest.find(b"\n", self._searched)) >= 0:
            line = bytes(self._rest[:end])
            del self._rest[: end + 1]
            self._searched = 0
            self._check_length(line)
            if line.strip():
                yield line
        self._searched = len(self._rest)
        self._check_length(self._rest)

    def last(self) -> Iterator[bytes]:
        """Yield the line that the client has begun and not ended, where it sends no more."""
        if self._rest.strip():
            yield bytes(self._rest)
        self._rest.clear()
        self._searched = 0

    def _check_length(self, line: bytes | bytearray) -> None:
        if len(line) >= self._longest:
            what = f"a line has more than {self._longest} bytes: the connection is closed"
            raise Refusal(Code.TOO_LONG, what)


def read_request(line: bytes) -> Request:
    """Read one line.

    Raises
    ------
    Refusal
        It is no request. `request_id` is its id, if it has one, and `is_silent` tells of a notification.
    """
    said = _parsed(line)
    if isinstance(said, list):
        raise Refusal(Code.NO_REQUEST, "batches are not answered: send one request a line")
    if not isinstance(said, dict):
        raise Refusal(Code.NO_REQUEST, "a request is an object, as in " + _EXAMPLE)
    number = said.get("id")
    if isinstance(number, bool) or not isinstance(number, str | int | float | None):
        raise Refusal(Code.NO_REQUEST, "the id of a request is a text or a number")
    is_notification, verb = "id" not in said, None
    try:
        verb = _verb(said)
        return Request(number, is_notification, verb, _params(said))
    except Refusal as refused:
        # A notification is not answered "even if an error occurred", one that is no request is (section 5).
        refused.is_silent = is_notification and verb is not None
        raise refused.of(number) from None


_EXAMPLE = '{"jsonrpc":"2.0","id":1,"method":"status"}'


def _verb(said: dict[str, Any]) -> str:
    if said.get("jsonrpc") != "2.0" or not isinstance(said.get("method"), str):
        raise Refusal(Code.NO_REQUEST, "a request has jsonrpc and a method, as in " + _EXAMPLE)
    verb: str = said["method"]
    return verb


def _params(said: dict[str, Any]) -> dict[str, Any]:
    params = said.get("params", {})
    if not isinstance(params, dict):
        raise Refusal(Code.BAD_PARAMS, "params is an object of names and values")
    return params


def _parsed(line: bytes) -> Any:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Refusal(Code.NO_JSON, "a line is JSON in UTF-8, and this one is no UTF-8") from None
    if _depth(text) > DEEPEST:
        raise Refusal(Code.NO_JSON, f"more than {DEEPEST} lists and objects are in each other")
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except ValueError as error:
        # Of a number with thousands of digits, too (sys.set_int_max_str_digits).
        raise Refusal(Code.NO_JSON, f"the line is no JSON: {error}") from None


_TEXT_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
"""A text that has no end is taken whole as well: a search that failed at each of its quotes would hold the
interpreter's lock for seconds."""


def _depth(text: str) -> int:
    if text.count("[") + text.count("{") <= DEEPEST:
        return 0
    deepest = depth = 0
    for found in _TEXT_OR_BRACKET.finditer(text):
        sign = found[0]
        if sign in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif sign in "]}":
            depth -= 1
    return deepest


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in JSON (RFC 8259, section 6)")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is too large a number")
    return number


class Listed(NamedTuple):
    """A result with a long list.

    Attributes
    ----------
    items : sequence of str
        The items, which `written` has written.
    facts : mapping
        All else, and at least something.
    """

    items: Sequence[str]
    facts: Mapping[str, object]


def result(request_id: RequestId, value: object) -> bytes:
    """Return the line that answers a request."""
    if isinstance(value, Listed):
        line = _line({"jsonrpc": "2.0", "id": request_id, "result": value.facts})
        return _with_items(line, value.items)
    return _line({"jsonrpc": "2.0", "id": request_id, "result": value})


def error_line(refused: Refusal) -> bytes:
    """Return the line that says why a request is not answered."""
    error = {"code": int(refused.code), "message": str(refused)}
    return _line({"jsonrpc": "2.0", "id": refused.request_id, "error": error})


def request_line(request_id: int, verb: str, params: Mapping[str, object]) -> bytes:
    """Return the line that asks for something."""
    return _line({"jsonrpc": "2.0", "id": request_id, "method": verb, "params": params})


def notification(method: str, params: Mapping[str, object]) -> bytes:
    """Return a line that tells something without having been asked."""
    return _line({"jsonrpc": "2.0", "method": method, "params": params})


def notification_of(method: str, items: Sequence[str], **figures: int) -> bytes:
    """Return a line that tells of items, which `written` has written, and some figures."""
    # The items are written once for all clients that are told of them.
    return _with_items(_line({"jsonrpc": "2.0", "method": method, "params": figures}), items)


def _with_items(line: bytes, items: Sequence[str]) -> bytes:
    head = line.removesuffix(b"}}\n")
    return b'%b,"items":[%b]}}\n' % (head, ",".join(items).encode())


def written(document: Mapping[str, object]) -> str:
    """Write a document as lines have it.

    Raises
    ------
    TypeError, ValueError
        It has what JSON has not.
    """
    # In ASCII: a client chooses the path of its Unix socket, and that may be no UTF-8 (PEP 383).
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def _line(document: Mapping[str, object]) -> bytes:
    return written(document).encode() + b"\n"
