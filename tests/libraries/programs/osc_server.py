"""An OSC server of the kind that is asked for: it answers /double with twice the number."""

import sys

from pythonosc import osc_server
from pythonosc.dispatcher import Dispatcher

dispatcher = Dispatcher()
dispatcher.map("/double", lambda _address, number: ("/doubled", 2 * number))
server = getattr(osc_server, sys.argv[1])(("127.0.0.1", 0), dispatcher)
print(server.server_address[1])
server.serve_forever()
