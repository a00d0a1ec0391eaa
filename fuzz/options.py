"""Fuzz the options, as words of a command line, and lists of networks, guided by coverage.

python fuzz/options.py [FOLDER] [options of libFuzzer, such as -max_total_time=600]

`make fuzz` runs it with the others. Whatever the word is, it is a value that fits the option as a keyword, or
one sentence that names the flag; and a list of networks holds just the addresses that its networks have.
"""

import sys
from ipaddress import IPv4Address, IPv6Address, ip_address

import atheris

with atheris.instrument_imports(include=["manyhands"]):
    from manyhands.config.option import Option
    from manyhands.config.option_types import NetworkList
    from manyhands.config.options import OPTIONS
    from manyhands.model.networks import Networks
    from manyhands.model.usage_errors import Mistake

WORDS = (
    *(
        "0",
        "1",
        "-1",
        "1e9",
        "nan",
        "inf",
        "-inf",
        "1_000",
        "0x10",
        "none",
        "None",
        "True",
        "False",
    ),
    *(
        "threads",
        "fibers",
        "required",
        "9" * 20,
        "9" * 5000,
        "\u0661",
        ".5",
        "2147483.1",
        "\0",
        " ",
    ),
    *("10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::ffff:10.0.0.0/104", "::/0", "0.0.0.0/0", ","),
    *("/", "/33", "/129", "/255.0.0.0", "%eth0", "::1", "1.2.3.4", ".", ":", "::ffff:0:0/96"),
)
"""Fuzzing finds these by itself, and needs minutes for it each time."""


class Nonsense(Exception):  # noqa: N818 - what it is
    """A word was read as what it never should be."""


def text_of(provider: atheris.FuzzedDataProvider) -> str:
    """Make a text of words, and of whatever else there is."""
    pieces = []
    for _ in range(provider.ConsumeIntInRange(1, 6)):
        if provider.ConsumeBool():
            pieces.append(provider.PickValueInList(list(WORDS)))
        else:
            pieces.append(provider.ConsumeUnicode(provider.ConsumeIntInRange(0, 8)))
    return "".join(pieces)


def check_option(option: Option, word: str) -> None:
    """Read a word; check the value, or the sentence."""
    try:
        value = option.parse(word)
    except Mistake as mistake:
        is_named = option.flag in str(mistake) or isinstance(option.kind, NetworkList)
        if not is_named or "\n" in str(mistake):
            raise Nonsense(f"{option.flag} {word!r}: {str(mistake)!r}") from None
        return
    option.check(value)


def check_networks(text: str, client: str) -> None:
    """Read networks; check that they hold what they should, and that their text says the same."""
    try:
        networks = Networks.parse(text)
    except Mistake as mistake:
        if "is not a network: " not in str(mistake) or "\n" in str(mistake):
            raise Nonsense(f"{text!r}: {str(mistake)!r}") from None
        return
    if Networks.parse(str(networks)) != networks:
        raise Nonsense(f"{text!r} is written {networks}, and that is another list")
    for network in networks.networks:
        for inside in (network.network_address, network.broadcast_address):
            check_client(networks, str(inside))
    check_client(networks, client)


def check_client(networks: Networks, client: str) -> None:
    """Check whether a client is in the networks, one network after the other."""
    address: IPv4Address | IPv6Address = ip_address(client)
    mapped = getattr(address, "ipv4_mapped", None)
    address = address if mapped is None else mapped
    # A network of one version holds no address of the other.
    expected = any(address in network for network in networks.networks)
    if ((client, 50_000) in networks) != expected:
        raise Nonsense(f"{client} in {networks} should be {expected}")


def test_one_input(data: bytes) -> None:
    """Try one word on one option, and one list of networks."""
    provider = atheris.FuzzedDataProvider(data)
    check_option(provider.PickValueInList(list(OPTIONS.values())), text_of(provider))
    if provider.ConsumeBool():
        client = str(IPv6Address(provider.ConsumeIntInRange(0, 2**64 - 1) << 32))
    else:
        client = str(IPv4Address(provider.ConsumeIntInRange(0, 2**32 - 1)))
    check_networks(text_of(provider), client)


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
