"""A time service over UDP: it answers each datagram with the time, in RFC 868's form or as text.

manyhands serve examples/time_service.py:Time --bind udp://127.0.0.1:8037

An empty datagram asks for RFC 868's four bytes: the seconds since 1900, big-endian. Any other is a format
for `strftime`, in UTC, such as ``%H:%M:%S``, and gets text.
"""

import struct
import time

from manyhands import DatagramRequestHandler, ThreadingUDPServer

SECONDS_1900_TO_1970 = 2_208_988_800  # RFC 868
LONGEST_FORMAT = 64


class Time(DatagramRequestHandler):
    """Answers one datagram. What is written to `wfile` becomes the reply."""

    def handle(self) -> None:
        asked = self.packet.decode(errors="replace").strip()[:LONGEST_FORMAT]
        if asked:
            self.wfile.write(time.strftime(asked, time.gmtime()).encode())
        else:
            # 32 bits: RFC 868's clock starts again in 2036.
            seconds = int(time.time()) + SECONDS_1900_TO_1970
            self.wfile.write(struct.pack("!I", seconds & 0xFFFF_FFFF))


if __name__ == "__main__":
    with ThreadingUDPServer(("127.0.0.1", 8037), Time) as server:
        print("time on {}:{}".format(*server.server_address), flush=True)
        server.serve_forever()
