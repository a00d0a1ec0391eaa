"""`manyhands.Server`, for the services that are about latency. It sets TCP_NODELAY by default."""

from handlers import handlers
from secret import context

import manyhands

ON_SERVER = ("tls", "halves")


def serve(service, engine):
    """Serve for ever."""
    handler = handlers(manyhands)["echo" if service == "tls" else service]
    address = "tls://127.0.0.1:0" if service == "tls" else "tcp://127.0.0.1:0"
    server = manyhands.Server(
        handler,
        address,
        engine=engine,
        request_queue_size=1024,
        ssl_context=context() if service == "tls" else None,
    )
    server.run(lambda: print(server.addresses[0].port, flush=True))
