"""A DICOM peer that answers C-ECHO."""

import signal

from pynetdicom import AE
from pynetdicom.sop_class import Verification

entity = AE()
entity.add_supported_context(Verification)
server = entity.start_server(("127.0.0.1", 0), block=False)
print(server.server_address[1])
try:
    signal.pause()
finally:
    server.shutdown()
