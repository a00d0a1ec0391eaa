"""Real libraries' servers, each driven by its real client, ten of them at once where it can."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from dnslib import DNSRecord
from pyModbusTCP.client import ModbusClient
from pynetdicom import AE
from pynetdicom.sop_class import Verification
from pythonosc.udp_client import SimpleUDPClient

from .conftest import Serving

CLIENTS = range(10)


@pytest.mark.parametrize(
    "kind", ["BlockingOSCUDPServer", "ThreadingOSCUDPServer", "ForkingOSCUDPServer"]
)
def test_python_osc_answers_messages(kind: str, serving: Serving) -> None:
    with serving("osc_server", kind) as port, ThreadPoolExecutor(10) as callers:

        def double(number: int) -> list[int]:
            client = SimpleUDPClient("127.0.0.1", int(port))
            client.send_message("/double", number)
            return next(client.get_messages(timeout=10)).params

        assert list(callers.map(double, CLIENTS)) == [[2 * number] for number in CLIENTS]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_dnslib_answers_questions(tcp: bool, serving: Serving) -> None:
    with serving("dns_server") as port, ThreadPoolExecutor(10) as callers:

        def ask(_number: int) -> str:
            question = DNSRecord.question("hands.example")
            answer = question.send("127.0.0.1", int(port), tcp=tcp, timeout=10)
            return str(DNSRecord.parse(answer).a.rdata)

        assert set(callers.map(ask, CLIENTS)) == {"192.0.2.8"}


def test_fakeredis_serves_redis_py(serving: Serving) -> None:
    with serving("redis_server") as port, ThreadPoolExecutor(10) as callers:

        def push(number: int) -> None:
            with redis.Redis("127.0.0.1", int(port)) as client:
                client.rpush("numbers", number)

        list(callers.map(push, CLIENTS))
        with redis.Redis("127.0.0.1", int(port)) as client:
            assert sorted(client.lrange("numbers", 0, -1)) == [b"%d" % n for n in CLIENTS]


def test_a_modbus_device_keeps_its_registers(serving: Serving, free_port: int) -> None:
    with serving("modbus_server", str(free_port)) as port, ThreadPoolExecutor(10) as callers:

        def keep(number: int) -> list[int] | None:
            client = ModbusClient("127.0.0.1", int(port), auto_close=True)
            assert client.write_single_register(number, number + 100)
            return client.read_holding_registers(number, 1)

        assert list(callers.map(keep, CLIENTS)) == [[number + 100] for number in CLIENTS]


def test_a_dicom_peer_answers_c_echo(serving: Serving) -> None:
    with serving("dicom_server") as port:
        entity = AE()
        entity.add_requested_context(Verification)
        association = entity.associate("127.0.0.1", int(port))

        assert association.is_established
        assert association.send_c_echo().Status == 0
        association.release()
