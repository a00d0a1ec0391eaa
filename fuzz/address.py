"""Fuzz the addresses, and the variables of systemd, guided by coverage.

python fuzz/address.py [FOLDER] [options of libFuzzer, such as -max_total_time=600]

`make fuzz` runs it with the others. Whatever the text is, it is an address whose own text says the same, or
one sentence that quotes it; and whatever the variables are, they give descriptors, or are one sentence.
"""

import sys
from ipaddress import IPv4Address, IPv6Address

import atheris

with atheris.instrument_imports(include=["manyhands"]):
    from manyhands.model.addresses import (
        HIGHEST_DESCRIPTOR,
        HIGHEST_PORT,
        LONGEST_PATH,
        LONGEST_SOCKET_NAME,
        SCHEMES,
        Address,
        parse,
    )
    from manyhands.model.usage_errors import Mistake
    from manyhands.protocol import systemd

WORDS = (
    *(f"{scheme}://" for scheme in SCHEMES),
    *("localhost", "127.0.0.1", "[::1]", "[fe80::1%eth0]", "[::ffff:1.2.3.4]", "*", "@", ".", ".."),
    *(
        ":",
        ":0",
        ":8008",
        ":65535",
        ":65536",
        "/",
        "/run/x.sock",
        "%",
        "?",
        "#",
        "é",
        "\udcff",
        "\0",
    ),
    *("?mode=", "660", "&owner=", "&group=www", "224.0.0.1", "[ff02::1]", "?interface=", "eth0"),
    *("xn--", "bücher", "ß", "\u0661", "\u3002", "3", "2147483647", "web", "a" * 63, "x" * 107),
)
"""Fuzzing finds these by itself, and needs minutes for it each time."""

SEEN_IN_SENTENCES = 2_000
"""Characters: a sentence that quotes a text of a few hundred is never longer than this."""


class Nonsense(Exception):  # noqa: N818 - what it is
    """An address was read as what it never should be."""


def text_of(provider: atheris.FuzzedDataProvider) -> str:
    """Make a text of words, and of whatever else there is."""
    pieces = []
    for _ in range(provider.ConsumeIntInRange(1, 8)):
        if provider.ConsumeBool():
            pieces.append(provider.PickValueInList(list(WORDS)))
        else:
            pieces.append(provider.ConsumeUnicode(provider.ConsumeIntInRange(0, 12)))
    return "".join(pieces)


def check_address(text: str, default_scheme: str) -> None:
    """Read a text; check the address, or the sentence."""
    try:
        address = parse(text, default_scheme)
    except Mistake as mistake:
        sentence = str(mistake)
        if not sentence.startswith(f"{text!r} is not an address: "):
            raise Nonsense(f"it does not quote the text: {sentence!r}") from None
        if "\n" in sentence or len(sentence) > SEEN_IN_SENTENCES:
            raise Nonsense(f"nobody can read {sentence!r}") from None
        return
    if parse(str(address), "tcp") != address:
        raise Nonsense(f"{text!r} is {address!r}, and its text something else")
    check_fields(address)


def check_fields(address: Address) -> None:
    """Check that an address has what its scheme says, and nothing else."""
    if address.is_given:
        has_number = address.scheme.endswith("fd")
        if has_number != (0 <= address.descriptor <= HIGHEST_DESCRIPTOR):
            raise Nonsense(f"{address!r} has the wrong descriptor")
        if len(address.name) > LONGEST_SOCKET_NAME or address.host or address.path or address.port:
            raise Nonsense(f"{address!r} has more than was given")
    elif address.path:
        if address.host or address.port or len(address.path.encode(errors="replace")) < 1:
            raise Nonsense(f"{address!r} has a path and a host")
        name = address.path.removeprefix("@").encode("utf-8", "surrogateescape")
        if not 0 < len(name) <= LONGEST_PATH or b"\0" in name:
            raise Nonsense(f"no kernel takes {address!r}")
    else:
        check_host(address)


def check_host(address: Address) -> None:
    """Check the host and the port of an internet address."""
    if not 0 <= address.port <= HIGHEST_PORT:
        raise Nonsense(f"{address!r} has no such port")
    host = address.host
    if ":" in host:
        IPv6Address(host)
    elif host and host.replace(".", "").isdecimal():
        IPv4Address(host)
    elif any(character.isspace() or not character.isprintable() for character in host):
        raise Nonsense(f"{host!r} is no host")


def check_variables(provider: atheris.FuzzedDataProvider) -> None:
    """Read what systemd would tell; check the descriptors, or the sentence."""
    variables = {
        name: provider.PickValueInList(
            ["42", "1", "2", "3", "web", "web:log", ":", "", text_of(provider)]
        )
        for name in systemd.VARIABLES
        if provider.ConsumeBool()
    }
    try:
        given = systemd.read(variables, 42)
        systemd.named(given, text_of(provider))
    except Mistake as mistake:
        if not str(mistake):
            raise Nonsense(f"it says nothing of {variables!r}") from None
        return
    if [one.number for one in given] != list(range(3, 3 + len(given))):
        raise Nonsense(f"{variables!r} gave {given!r}")


def test_one_input(data: bytes) -> None:
    """Try one text, and one set of variables."""
    provider = atheris.FuzzedDataProvider(data)
    default_scheme = provider.PickValueInList(list(SCHEMES))
    check_address(text_of(provider), default_scheme)
    check_variables(provider)


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
