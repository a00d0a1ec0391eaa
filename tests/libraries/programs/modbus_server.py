"""A Modbus device on the port that is asked for."""

import signal
import sys

from pyModbusTCP.server import ModbusServer

server = ModbusServer("127.0.0.1", int(sys.argv[1]), no_block=True)
server.start()
print(server.port)
try:
    signal.pause()
finally:
    server.stop()
