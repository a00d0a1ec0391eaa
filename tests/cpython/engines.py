"""Which of CPython's tests cannot run on which engine, by what they test."""

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path


def _is_a_test(name: str, module: str) -> bool:
    """Tell whether this release of Python has a test; it need not be imported for that."""
    spec = find_spec(f"test.{module}")
    return spec is not None and f"def {name}(" in Path(str(spec.origin)).read_text("utf-8")


#: The engine is chosen by the class under test.
AS_THE_CLASS_SAYS = ""

#: It wants the handler's SystemExit in the thread that called handle_request.
_SAME_THREAD = ("*.ErrorHandlerTest.test_sync_not_handled",)

#: It sends a signal to a thread by what `threading.get_ident` tells, which under gevent is a fiber.
_THREAD_BY_ITS_ID = {
    "test_socketserver": ("*.SocketWriterTest.test_write",),
    "test_wsgiref": ("*.IntegrationTests.test_interrupted_write",),
}

#: It waits for its listener's thread in a loop without a pause, and no fiber ever runs. (New in 3.12.)
_NEVER_WAITS = (
    ("*.ConfigDictTest.test_config_queue_handler",) if sys.version_info >= (3, 12) else ()
)

#: A thread of it opens a named pipe, which waits in open(2) for the writer: a fiber that never runs. (New in
#: 3.14, and in later releases of 3.13.)
_OPENS_A_PIPE = tuple(
    f"*.RotatingFileHandlerTest.{name}"
    for name in ["test_should_not_rollover_named_pipe"]
    if _is_a_test(name, "test_logging")
)

#: Their handlers change the server, the test case or the standard streams of the process that they run in.
_SAME_PROCESS = {
    "test_xmlrpc": (
        "*.GzipServerTestCase.test_bad_gzip_request",
        "*.GzipServerTestCase.test_gzip_request",
        "*.GzipServerTestCase.test_gzip_response",
        "*.HeadersServerTestCase.test_header",
        "*.HeadersServerTestCase.test_header_empty",
        "*.HeadersServerTestCase.test_header_items",
        "*.HeadersServerTestCase.test_header_many",
        "*.HeadersServerTestCase.test_header_tuple",
        "*.KeepaliveServerTestCase1.test_two",
        "*.KeepaliveServerTestCase2.test_close",
        "*.KeepaliveServerTestCase2.test_transport",
        "*.XMLRPCTestCase.test_keepalive_disconnect",
    ),
    "test_httpservers": (
        "*.RequestHandlerLoggingTestCase.test_err",
        "*.RequestHandlerLoggingTestCase.test_get",
    ),
    "test_socketserver": (
        *_SAME_THREAD,
        "*.ErrorHandlerTest.test_threading_handled",
        "*.ErrorHandlerTest.test_threading_not_handled",
        "*.SocketWriterTest.test_basics",
        "*.SocketWriterTest.test_write",
    ),
    "test_wsgiref": (),
    # Not test_logging: all its servers hand what they receive to the test case.
}

#: Run on one version, for the time that it takes. (3.11 and 3.12 pass too.)
_ON_FIBERS: Mapping[str, tuple[str, ...]] = {
    "test_xmlrpc": (),
    "test_logging": (*_NEVER_WAITS, *_OPENS_A_PIPE),
    "test_httpservers": (),
    "test_socketserver": (*_SAME_THREAD, *_THREAD_BY_ITS_ID["test_socketserver"]),
    "test_wsgiref": _THREAD_BY_ITS_ID["test_wsgiref"],
}

#: For each engine the suites, the longest first, and of each the tests that it cannot run.
IMPOSSIBLE: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    AS_THE_CLASS_SAYS: {
        "test_xmlrpc": (),
        "test_logging": (),
        "test_httpservers": (),
        "test_socketserver": (),
        "test_wsgiref": (),
    },
    "threads": {
        "test_xmlrpc": (),
        "test_logging": (),
        "test_httpservers": (),
        "test_socketserver": _SAME_THREAD,
        "test_wsgiref": (),
    },
    "processes": _SAME_PROCESS,
    **({"fibers": _ON_FIBERS} if sys.version_info >= (3, 13) else {}),
}
