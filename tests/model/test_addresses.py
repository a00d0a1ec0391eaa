import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.model.addresses import LONGEST_PATH, Address, parse
from manyhands.model.usage_errors import Mistake


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tcp://0.0.0.0:8008", Address("tcp", "0.0.0.0", 8008)),
        ("tcp://[::1]:8008", Address("tcp", "::1", 8008)),
        ("tcp://localhost:8008", Address("tcp", "localhost", 8008)),
        ("TCP://LocalHost:8008", Address("tcp", "localhost", 8008)),
        ("tcp://my_box.example-1.org.:80", Address("tcp", "my_box.example-1.org.", 80)),
        ("tcp://bücher.example:80", Address("tcp", "bücher.example", 80)),
        ("tcp://:8008", Address("tcp", "", 8008)),
        ("tcp://*:8008", Address("tcp", "", 8008)),
        ("tcp://[::]:8008", Address("tcp", "::", 8008)),
        ("tcp://[0:0:0:0:0:0:0:1]:8008", Address("tcp", "::1", 8008)),
        ("tcp://[fe80::1%eth0]:80", Address("tcp", "fe80::1%eth0", 80)),
        ("udp://127.0.0.1:0", Address("udp", "127.0.0.1", 0)),
        ("tls://*:8443", Address("tls", "", 8443)),
        ("tcp://:65535", Address("tcp", "", 65535)),
        ("127.0.0.1:8008", Address("tcp", "127.0.0.1", 8008)),
        (":8008", Address("tcp", "", 8008)),
        ("8008", Address("tcp", "", 8008)),
        ("[::1]:8008", Address("tcp", "::1", 8008)),
        ("unix:///run/x.sock", Address("unix", path="/run/x.sock")),
        ("unix://relative.sock", Address("unix", path="relative.sock")),
        ("unix://@name", Address("unix", path="@name")),
        ("unix:///Application Support/x", Address("unix", path="/Application Support/x")),
        ("unix-datagram:///run/x:1.sock", Address("unix-datagram", path="/run/x:1.sock")),
        ("fd://3", Address("fd", descriptor=3)),
        ("fd://003", Address("fd", descriptor=3)),
        ("tls+fd://0", Address("tls+fd", descriptor=0)),
        ("systemd://", Address("systemd")),
        ("systemd://web", Address("systemd", name="web")),
        ("systemd://echo tls/1.socket", Address("systemd", name="echo tls/1.socket")),
        ("TLS+SystemD://web", Address("tls+systemd", name="web")),
    ],
)
def test_an_address_is_read(text: str, address: Address) -> None:
    assert parse(text) == address


def test_the_default_scheme_is_that_of_a_text_without_one() -> None:
    assert parse("[::1]:53", "udp") == Address("udp", "::1", 53)
    assert parse("53", "udp") == Address("udp", "", 53)
    assert parse("/run/x.sock", "unix") == Address("unix", path="/run/x.sock")
    assert parse("8008", "unix") == Address("unix", path="8008")
    assert parse("tcp://:1", "unix") == Address("tcp", "", 1)


SCHEMES = "the schemes are tcp, tls, udp, unix, unix-datagram, fd, tls+fd, systemd, tls+systemd"

NAMES = (
    "the name of a socket has at most 255 ASCII characters, and no ':' or control character is one of "
    "them (FileDescriptorName= in its unit)"
)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the port is missing, as in tcp://127.0.0.1:8008"),
        ("tcp://", "the port is missing, as in tcp://127.0.0.1:8008"),
        ("tcp://localhost", "the port is missing, as in tcp://localhost:8008"),
        ("tcp://8008", "the port is missing, as in tcp://:8008"),
        ("tcp://[::1]", "the port is missing, as in tcp://[::1]:8008"),
        ("tcp://localhost:", "the port must be a number from 0 to 65535, not ''"),
        ("tcp://localhost:http", "the port must be a number from 0 to 65535, not 'http'"),
        ("tcp://localhost:-1", "the port must be a number from 0 to 65535, not '-1'"),
        ("tcp://localhost:+1", "the port must be a number from 0 to 65535, not '+1'"),
        ("tcp://localhost:\u0668", "the port must be a number from 0 to 65535, not '\u0668'"),
        ("tcp://localhost:65536", "the port must be from 0 to 65535"),
        ("tcp://localhost:" + "9" * 5000, "the port must be from 0 to 65535"),
        ("http://localhost:80", f"{SCHEMES}; HTTP is spoken over tcp://"),
        ("://localhost:80", SCHEMES),
        ("tcp://::1:8008", "an IPv6 address needs brackets, as in tcp://[::1]:8008"),
        ("::1", "an IPv6 address needs brackets, as in tcp://[::1]:8008"),
        ("tcp://a:b:80", "an IPv6 address needs brackets, as in tcp://[::1]:8008"),
        ("tcp://[::g]:80", "'::g' is not an IPv6 address"),
        ("tcp://[]:80", "'' is not an IPv6 address"),
        ("tcp://[127.0.0.1]:80", "'127.0.0.1' is not an IPv6 address"),
        ("tcp://256.0.0.1:80", "'256.0.0.1' is not an IPv4 address (four numbers from 0 to 255)"),
        ("tcp://127.1:80", "'127.1' is not an IPv4 address (four numbers from 0 to 255)"),
        ("tcp://a..b:80", "'a..b' is not the name of a host"),
        ("tcp://.:80", "'.' is not the name of a host"),
        ("tcp://-:80", "'-' is not the name of a host"),
        (f"tcp://{'a' * 64}:80", f"'{'a' * 64}' is not the name of a host"),
        ("tcp://me@box:80", "'me@box' is not the name of a host"),
        ("tcp://local host:80", "it cannot have spaces, as in tcp://127.0.0.1:8008"),
        (" tcp://localhost:80", SCHEMES),
        ("tcp://localhost:80\n", "it cannot have spaces, as in tcp://127.0.0.1:8008"),
        ("tcp://localhost:80/", "nothing can follow the port, as in tcp://localhost:80"),
        ("tcp://localhost:80/x", "nothing can follow the port, as in tcp://localhost:80"),
        ("tcp://localhost:80?x=1", "it cannot have a query ('?' and what follows)"),
        ("fd://3?mode=660", "it cannot have a query ('?' and what follows)"),
        ("unix:///x?", "mode, owner or group may follow the '?', and not ''"),
        (
            "unix:///x?mod=660",
            "mode, owner or group may follow the '?', and not 'mod'; did you mean 'mode'?",
        ),
        (
            "unix:///x?user=www",
            "mode, owner or group may follow the '?', and not 'user'; did you mean 'owner'?",
        ),
        ("unix:///x?mode", "mode needs a value, as in ?mode=660"),
        ("unix:///x?group=", "group needs a value, as in ?group=www"),
        ("unix:///x?mode=660&mode=600", "it says mode twice"),
        ("unix:///x?mode=rw", "the mode is written in octal digits, as in ?mode=660, not 'rw'"),
        ("unix:///x?mode=689", "the mode is written in octal digits, as in ?mode=660, not '689'"),
        ("unix:///x?mode=4755", "the mode is at most 777, not '4755'"),
        ("unix:///x?owner= www", "' www' is not the name, or the number, of a user or a group"),
        ("unix://@x?mode=660", "an abstract name has no file, and so no mode, owner or group"),
        (
            "udp://127.0.0.1:5?interface=lo",
            (
                "an interface is for the group of a multicast address, as in "
                "udp://239.1.2.3:5000?interface=eth0"
            ),
        ),
        ("udp://239.1.2.3:5?interface=a/b", "'a/b' is not the name of an interface, as eth0 is"),
        (
            "udp://[ff02::1%lo]:5?interface=lo",
            "it names the interface twice, as zone and in the query",
        ),
        ("unix:///x.sock#1", "it cannot have a fragment ('#' and what follows)"),
        (
            "/run/x.sock",
            "it has a '/' where HOST:PORT belongs; the path of a socket is unix://PATH",
        ),
        ("unix:/run/x.sock", "two slashes follow the scheme, as in unix://"),
        ("TCP:127.0.0.1:8008", "two slashes follow the scheme, as in tcp://"),
        ("udp:53", "two slashes follow the scheme, as in udp://"),
        ("unix://", "the path is empty, as in unix:///run/x.sock"),
        ("unix-datagram://", "the path is empty, as in unix-datagram:///run/x.sock"),
        ("unix://@", "the path is empty, as in unix:///run/x.sock"),
        ("unix:///run/", "the path names a folder, not a socket in it"),
        (
            "unix:///run/x ",
            "the path cannot begin or end with a space or hold control characters",
        ),
        (
            "unix:///run/\0x",
            "the path cannot begin or end with a space or hold control characters",
        ),
        (f"unix:///{'x' * 107}", "the path has 108 bytes and the kernel takes 107"),
        (f"unix:///{'é' * 54}", "the path has 109 bytes and the kernel takes 107"),
        (f"unix://@{'x' * 108}", "the path has 108 bytes and the kernel takes 107"),
        (
            "fd://",
            "a descriptor is a number, as in fd://3 (sockets by their name are systemd://NAME)",
        ),
        (
            "fd://-1",
            "a descriptor is a number, as in fd://3 (sockets by their name are systemd://NAME)",
        ),
        (
            "tls+fd://web",
            "a descriptor is a number, as in tls+fd://3 (sockets by their name are tls+systemd://NAME)",
        ),
        ("fd://2147483648", "the number of a descriptor is at most 2147483647"),
        ("fd://" + "9" * 5000, "the number of a descriptor is at most 2147483647"),
        ("fd:3", "two slashes follow the scheme, as in fd://"),
        ("systemd:web", "two slashes follow the scheme, as in systemd://"),
        ("systemd://a:b", NAMES),
        ("systemd://a\nb", NAMES),
        ("systemd://b\u00fccher", NAMES),
        ("systemd://" + "x" * 256, NAMES),
        (
            "unix:///\ud800",
            "the path cannot begin or end with a space or hold control characters",
        ),
    ],
)
def test_a_wrong_text_gets_one_sentence_that_says_what_would_be_right(
    text: str, sentence: str
) -> None:
    with pytest.raises(Mistake) as caught:
        parse(text)
    assert str(caught.value) == f"{text!r} is not an address: {sentence}"


def test_the_longest_path_fits() -> None:
    assert parse("unix:///" + "x" * (LONGEST_PATH - 1)).path
    assert parse("unix://@" + "x" * LONGEST_PATH).path


@pytest.mark.parametrize(
    ("text", "is_given", "is_tls", "is_stream"),
    [
        ("tcp://:1", False, False, True),
        ("tls://:1", False, True, True),
        ("udp://:1", False, False, False),
        ("unix-datagram://x", False, False, False),
        ("fd://0", True, False, False),
        ("tls+fd://3", True, True, False),
        ("systemd://", True, False, False),
        ("tls+systemd://web", True, True, False),
    ],
)
def test_an_address_tells_what_it_is_for(
    text: str, is_given: bool, is_tls: bool, is_stream: bool
) -> None:
    address = parse(text)
    assert (address.is_given, address.is_tls, address.is_stream) == (is_given, is_tls, is_stream)


PORTS = st.integers(0, 65535)
HOSTS = st.one_of(
    st.just(""),
    st.just("*"),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.from_regex(r"\A[a-zA-Z][a-zA-Z0-9_-]{0,20}(\.[a-zA-Z][a-zA-Z0-9]{0,10}){0,2}\Z"),
)


@given(scheme=st.sampled_from(["tcp", "udp"]), host=HOSTS, port=PORTS)
def test_an_internet_address_survives_the_round_trip(scheme: str, host: str, port: int) -> None:
    address = parse(f"{scheme}://{host}:{port}")
    assert address.port == port
    assert parse(str(address)) == address


@given(scheme=st.sampled_from(["unix", "unix-datagram"]), path=st.text(min_size=1, max_size=60))
def test_a_path_survives_the_round_trip_or_is_refused(scheme: str, path: str) -> None:
    try:
        address = parse(f"{scheme}://{path}")
    except Mistake:
        return
    assert address.path == path.partition("?")[0]
    assert parse(str(address)) == address


NAMES = st.sampled_from(["", "www", "33", "domain users", "x\\y"])


@given(mode=st.none() | st.integers(0, 0o777), owner=NAMES, group=NAMES)
def test_the_set_up_of_a_file_survives_the_round_trip(
    mode: int | None, owner: str, group: str
) -> None:
    address = Address("unix", path="/run/x.sock", mode=mode, owner=owner, group=group)
    assert parse(str(address)) == address


@pytest.mark.parametrize(
    "text", ["udp://239.1.2.3:5?interface=eth0", "udp://[ff02::1]:5?interface=lo"]
)
def test_an_interface_survives_the_round_trip(text: str) -> None:
    assert str(parse(text)) == text
    assert parse(text).interface in {"eth0", "lo"}


@given(scheme=st.sampled_from(["fd", "tls+fd"]), number=st.integers(0, 2**31 - 1))
def test_a_descriptor_survives_the_round_trip(scheme: str, number: int) -> None:
    address = parse(f"{scheme}://{number}")
    assert address.descriptor == number
    assert parse(str(address)) == address


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters=":?#")))
def test_a_name_of_systemd_s_survives_the_round_trip(name: str) -> None:
    address = parse(f"systemd://{name}")
    assert address.name == name
    assert parse(str(address)) == address


@given(
    st.one_of(st.text(max_size=60), st.text(alphabet="tcpfdlsyem+:/[]*@.%?#-18e \0", max_size=30))
)
def test_any_text_is_an_address_or_a_mistake_that_quotes_it(text: str) -> None:
    outcome = parsed_or_sentence(text)
    if isinstance(outcome, Address):
        assert parse(str(outcome)) == outcome
    else:
        assert outcome.startswith(f"{text!r} is not an address: ")


def parsed_or_sentence(text: str) -> Address | str:
    try:
        return parse(text)
    except Mistake as mistake:
        return str(mistake)
