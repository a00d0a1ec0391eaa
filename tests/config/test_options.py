import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands import socketserver
from manyhands.cli.flags import add_flags, given_options
from manyhands.config.option import Option
from manyhands.config.options import DROP_IN_OPTIONS, OPTIONS, SERVER_OPTIONS, by_engine, by_group
from manyhands.engines import ENGINES
from manyhands.model import timeouts
from manyhands.model.usage_errors import Mistake

UP_TO = "above 0 and up to 2147483"


def parsed(*words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser, OPTIONS.values())
    return given_options(parser.parse_args(words), OPTIONS)


@pytest.mark.parametrize(
    ("owner", "option"),
    [(owner, option) for option in OPTIONS.values() for owner in option.owners],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_default_in_the_table_is_that_of_the_class(owner: str, option: Option) -> None:
    assert hasattr(getattr(socketserver, owner), option.name) is not option.is_unset
    if not option.is_unset:
        default = getattr(getattr(socketserver, owner), option.name)
        assert default == option.default
        assert type(default) is type(option.default)


@pytest.mark.parametrize("options", [OPTIONS, SERVER_OPTIONS], ids=["drop-in", "server"])
@pytest.mark.parametrize("name", OPTIONS)
def test_every_default_fits_its_own_option(name: str, options: Mapping[str, Option]) -> None:
    option = options.get(name)
    assert option is None or option.fits(option.default)


def test_the_deadlines_of_the_table_are_those_that_connections_have() -> None:
    assert by_group("deadlines") == timeouts.NAMES


def test_an_engine_goes_by_its_own_options_and_the_bound_of_its_workers_comes_first() -> None:
    assert {engine: by_engine(engine)[:1] for engine in ENGINES} == {
        "sequential": (),
        "threads": ("max_threads",),
        "processes": ("max_children",),
        "fibers": ("max_fibers",),
    }
    assert {*by_engine("fibers")} == {"max_fibers", "daemon_threads", "hub_block_time"}


def test_only_options_that_are_given_are_reported() -> None:
    assert parsed() == {}
    assert parsed("--max-threads", "5") == {"max_threads": 5}


def test_every_kind_of_option_is_read_from_the_command_line() -> None:
    assert parsed(
        *("--engine", "threads", "--max-threads=none", "--max-packet-size", "10_000"),
        *("--no-allow-reuse-address", "--allow-reuse-port", "--handshake-timeout", "2.5"),
        *("--write-timeout", "90s", "--idle-timeout", "5m", "--max-age=1d"),
        *("--drain-timeout", "0", "--client-ca", "ca.pem", "--client-certificates", "optional"),
        *("--allow", "10.0.0.0/8,::1", "--allow", "192.0.2.1", "--max-rate", "0.5"),
        *("--max-connections", "9", "--when-full", "refuse", "--refusal", "full"),
        *("--certfile", "a.pem", "--certfile=b.pem", "--keyfile", "a.key", "--alpn", "h2"),
        *("--workers", "auto", "--reload-drain", "stay", "--max-generations", "2"),
        *("--start-timeout", "2m", "--worker-timeout", "none"),
    ) == {
        "engine": "threads",
        "max_threads": None,
        "max_packet_size": 10_000,
        "allow_reuse_address": False,
        "allow_reuse_port": True,
        "handshake_timeout": 2.5,
        "write_timeout": 90.0,
        "idle_timeout": 300.0,
        "max_age": 86_400.0,
        "drain_timeout": 0.0,
        "client_ca": "ca.pem",
        "client_certificates": "optional",
        "allow": ["10.0.0.0/8, ::1", "192.0.2.1"],
        "max_rate": 0.5,
        "max_connections": 9,
        "when_full": "refuse",
        "refusal": "full",
        "certfile": ["a.pem", "b.pem"],
        "keyfile": ["a.key"],
        "alpn": ["h2"],
        "workers": "auto",
        "reload_drain": "stay",
        "max_generations": 2,
        "start_timeout": 120.0,
        "worker_timeout": None,
    }


def test_workers_are_counted_from_none_to_512() -> None:
    assert [parsed("--workers", word)["workers"] for word in ("none", "0", "512")] == [None, 0, 512]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("--max-threads", "many"),
            "--max-threads must be a whole number of at least 1, or none, not 'many'",
        ),
        (
            ("--max-threads", "0"),
            "--max-threads must be a whole number of at least 1, or none, not '0'",
        ),
        (
            ("--max-children", "none"),
            "--max-children must be a whole number of at least 1, not 'none'",
        ),
        (
            ("--max-children", "1.5"),
            "--max-children must be a whole number of at least 1, not '1.5'",
        ),
        (
            ("--request-queue-size", "3000000000"),
            "--request-queue-size must be a whole number from 1 to 2147483647, not '3000000000'",
        ),
        (
            ("--engine", "fork"),
            "--engine must be sequential, threads, processes or fibers, or none, not 'fork'",
        ),
        (
            ("--handshake-timeout", "0"),
            f"--handshake-timeout must be a number of seconds {UP_TO}, or none, not '0'",
        ),
        (
            ("--drain-timeout", "nan"),
            "--drain-timeout must be a number of seconds from 0 up to 2147483, not 'nan'",
        ),
        (
            ("--drain-timeout", "inf"),
            "--drain-timeout must be a number of seconds from 0 up to 2147483, not 'inf'",
        ),
        (
            ("--refusal", "ü" * 3000),
            (
                "--refusal must be a text or bytes, 4096 bytes at the most, or none, "
                f"not '{'ü' * 59}... (3000 characters, 6000 bytes)"
            ),
        ),
        (
            ("--when-full", "panic"),
            "--when-full must be wait, refuse or a handler, not 'panic'",
        ),
        (
            ("--certfile", ""),
            "--certfile must be the path of a file, or a list of such, or none, not ''",
        ),
        (
            ("--client-certificates", "yes"),
            "--client-certificates must be none, optional or required, not 'yes'",
        ),
        (
            ("--alpn", "h 2"),
            "--alpn must be a name of 1 to 255 ASCII characters, or a list of such, or none, not 'h 2'",
        ),
        (
            ("--workers", "513"),
            "--workers must be auto, or a whole number from 0 to 512, or none, not '513'",
        ),
        (
            ("--workers", "Auto"),
            "--workers must be auto, or a whole number from 0 to 512, or none, not 'Auto'",
        ),
        (
            ("--reload-drain", "none"),
            "--reload-drain must be drain or stay, not 'none'",
        ),
        (
            ("--max-generations", "0"),
            "--max-generations must be a whole number from 1 to 10, not '0'",
        ),
        (
            ("--start-timeout", "none"),
            f"--start-timeout must be a number of seconds {UP_TO}, not 'none'",
        ),
        (
            ("--drain-timeout=-1",),
            "--drain-timeout must be a number of seconds from 0 up to 2147483, not '-1'",
        ),
    ],
)
def test_a_word_that_does_not_fit_gets_one_sentence(words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(Mistake) as caught:
        parsed(*words)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "max_threads",
            True,
            "max_threads must be a whole number of at least 1, or none, not True",
        ),
        ("max_children", None, "max_children must be a whole number of at least 1, not None"),
        (
            "client_ca",
            ["a.pem"],
            "client_ca must be the path of a file, or none, not ['a.pem']",
        ),
        (
            "certfile",
            [],
            "certfile must be the path of a file, or a list of such, or none, not []",
        ),
        (
            "certfile",
            ["a.pem", None],
            "certfile must be the path of a file, or a list of such, or none, not ['a.pem', None]",
        ),
        (
            "keyfile",
            "a\0b",
            "keyfile must be the path of a file, or a list of such, or none, not 'a\\x00b'",
        ),
        (
            "alpn",
            ("h2", "x" * 256),
            (
                "alpn must be a name of 1 to 255 ASCII characters, or a list of such, or none, "
                f"not ('h2', '{'x' * 52}..."
            ),
        ),
        ("allow_reuse_port", 1, "allow_reuse_port must be True or False, not 1"),
        (
            "drain_timeout",
            "5",
            "drain_timeout must be a number of seconds from 0 up to 2147483, not '5'",
        ),
    ],
)
def test_a_value_that_does_not_fit_gets_one_sentence(
    name: str, value: object, sentence: str
) -> None:
    with pytest.raises(Mistake) as caught:
        OPTIONS[name].check(value)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("certfile", "a.pem"),
        ("certfile", Path("a.pem")),
        ("certfile", ["a.pem", Path("b.pem")]),
        ("certfile", ("a.pem",)),
        ("client_ca", Path("a.pem")),
        ("alpn", "http/1.1"),
        ("alpn", ["h2", "x" * 255]),
    ],
)
def test_one_or_several_fit_where_several_may_be(name: str, value: object) -> None:
    OPTIONS[name].check(value)


def test_a_number_too_long_to_be_shown_is_not_shown() -> None:
    with pytest.raises(Mistake, match="of at least 1, not such a number"):
        OPTIONS["max_children"].check(-(10**5000))


def test_a_drop_in_program_can_be_given_all_options_that_are_class_attributes() -> None:
    tls = {"certfile", "keyfile", "client_ca", "client_certificates", "alpn"}
    of_server = {"drain_timeout", "control", "control_read", *by_group("workers"), *tls}
    assert set(DROP_IN_OPTIONS) == set(OPTIONS) - of_server


def test_the_help_of_a_served_option_shows_the_default_of_the_server() -> None:
    for options, figure in ((OPTIONS, "8192 bytes"), (SERVER_OPTIONS, "65535 bytes")):
        parser = argparse.ArgumentParser()
        add_flags(parser, [options["max_packet_size"]])
        assert figure in parser.format_help()


NUMBERS = st.integers().map(str) | st.floats().map(str)


@given(option=st.sampled_from(list(OPTIONS.values())), word=NUMBERS | st.text(max_size=20))
def test_any_word_is_a_value_that_fits_or_a_sentence_that_names_the_flag(
    option: Option, word: str
) -> None:
    try:
        value = option.parse(word)
    except Mistake as mistake:
        sentence = str(mistake)
    else:
        option.check(value)
        return
    is_on_a_network = (
        "is not a network: " in sentence
    )  # whose entry is named in the place of the flag
    assert (
        is_on_a_network
        or (
            sentence.startswith(f"{option.flag} must be ")
            # One whose description is long is shown in part.
            and (sentence.endswith(f", not {word!r}") or f", not {word!r}"[:50] in sentence)
        )
    )
