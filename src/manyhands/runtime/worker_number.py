"""Which worker of a server this process is, for what is told of it."""


class _ThisProcess:
    number = 0
    """The worker's; 0 of any other process. A process that a worker forks for a handler has the worker's."""


def be_worker(number: int) -> None:
    """Note that this process is the worker of a number, from 1."""
    _ThisProcess.number = number


def worker_number() -> int:
    """Return the number of the worker that this process is, or serves; 0 where it is none."""
    return _ThisProcess.number
