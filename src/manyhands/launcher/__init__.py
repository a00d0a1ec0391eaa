"""`manyhands run`: an unmodified program, and its children, on our engines.

The program is started by the same interpreter as if it had been named on its command line. Two
environment variables make the difference, and children inherit them: `PYTHONPATH` begins with the
folder `startup`, whose `sitecustomize` answers the first import of `socketserver` with ours, and
`MANYHANDS_OPTIONS` carries the options.

So it does not reach a child that is started with `-E`, `-I` or `-S`, one that gets a `PYTHONPATH` of
its own in place of ours, or one whose `PYTHONPATH` names another `sitecustomize` before ours. Pythons
before 3.11 are left as they are. A child of another installation of Python 3.11 or later uses the
launcher's copy of manyhands, installed there or not.

On fibers each of these processes is patched at its start, before the program is loaded: by `gevent.monkey`,
and by ours where that leaves something alone. A child of an installation without gevent has no fibers, and
says so when it becomes a server.

The order of a start: `program` checks what is to run, `environment` says what its processes need to know, and
`program` puts the interpreter in the place of this process; there `startup` runs first, and `takeover` when
`socketserver` is imported.
"""
