"""What the standard library promises, and programs rely on: on fibers as on threads."""

import textwrap
from pathlib import Path

import pytest

from .launch import RUN, python, write
from .on_fibers import ON_FIBERS

PROGRAMS = {
    "a queue has its size, its lock and its count": """
        q = queue.Queue(3)
        print(q.maxsize, queue.Queue().maxsize > 0, q.unfinished_tasks)
        q.put(1)
        with q.mutex: q.queue.clear()
        with q.all_tasks_done: q.unfinished_tasks = 0
        q.join()
        print(q.empty(), q.qsize(), queue.Queue.__module__, queue.SimpleQueue().qsize())
    """,
    "queues are subclassed by their inner methods": """
        class Unique(queue.Queue):
            def _init(self, maxsize): super()._init(maxsize); self._last = None
            def _put(self, item):
                if item != self._last: super()._put(item); self._last = item
                else: self.unfinished_tasks -= 1
        class Ordered(queue.PriorityQueue): pass
        unique, ordered = Unique(), Ordered()
        for item in (2, 2, 1): unique.put(item); ordered.put(item)
        print(unique.qsize(), ordered.get(), isinstance(ordered, queue.Queue), queue.LifoQueue.__mro__[1:])
    """,
    "a full and an empty queue wait for other threads": """
        q, got = queue.Queue(1), []
        def take():
            for _ in range(5): got.append(q.get()); q.task_done()
        thread = threading.Thread(target=take); thread.start()
        for number in range(5): q.put(number)
        q.join(); thread.join()
        try: q.get(timeout=0.05)
        except queue.Empty: print("empty", got)
        q.put(1)
        try: q.put(1, timeout=0.05)
        except queue.Full: print("full")
    """,
    "a simple queue waits for other threads": """
        q = queue.SimpleQueue()
        threading.Timer(0.05, q.put, ("later",)).start()
        print(q.get(timeout=5), q.empty())
    """,
    "epoll waits and tells": """
        near, far = socket.socketpair()
        with select.epoll() as poll:
            poll.register(near.fileno(), select.EPOLLIN)
            print(poll.poll(0), poll.fileno() >= 0)
            threading.Timer(0.05, far.send, (b"x",)).start()
            print(poll.poll(5) == [(near.fileno(), select.EPOLLIN)], poll.poll(maxevents=1) != [])
            poll.modify(near, select.EPOLLOUT); poll.unregister(near)
        print(poll.closed)
        with selectors.EpollSelector() as selector:
            selector.register(near, selectors.EVENT_READ)
            print(len(selector.select(5)), selector.select(0)[0][0].fileobj is near)
    """,
    "threads are found among the frames": """
        ready = threading.Event()
        def waiting(): ready.wait()
        threads = [threading.Thread(target=waiting) for _ in range(2)]
        for thread in threads: thread.start()
        time.sleep(0.05)
        frames = sys._current_frames()
        def names(frame):
            while frame is not None: yield frame.f_code.co_name; frame = frame.f_back
        print([("waiting" in names(frames[thread.ident])) for thread in threads])
        print(frames[threading.get_ident()].f_code.co_name, threading.main_thread().ident in frames)
        ready.set()
    """,
    "functions are pickled by name, and take their keywords": """
        import fcntl, os, pickle, signal
        for function in (
            open, os.read, os.write, os.open, os.close, os.system, os.wait, os.waitpid, os.wait3, os.wait4,
            os.waitid, signal.signal, signal.getsignal, signal.pause, select.select, fcntl.flock, fcntl.lockf,
        ):
            print(function.__name__, pickle.loads(pickle.dumps(function)) is function)
        print(signal.signal(signalnum=signal.SIGUSR1, handler=signal.SIG_IGN))
        print(signal.getsignal(signalnum=signal.SIGUSR1))
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]); os.kill(os.getpid(), signal.SIGUSR2)
        print(signal.sigwait(sigset={signal.SIGUSR2}), os.close(fd=os.dup(0)))
    """,
    "the only thread waits for a signal handler": """
        import signal
        q, simple, event = queue.Queue(), queue.SimpleQueue(), threading.Event()
        for put, wait in ((q.put, q.get), (simple.put, simple.get), (lambda _: event.set(), event.wait)):
            signal.signal(signal.SIGALRM, lambda *_, put=put: put("put"))
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            print(wait())
    """,
    "all of a message is sent": """
        near, far = socket.socketpair()
        got = []
        def receive():
            while data := far.recv(65536): got.append(len(data))
        thread = threading.Thread(target=receive); thread.start()
        large = b"x" * 3_000_000
        print(near.send(large), near.sendmsg(iter([b"head", bytearray(large)])))
        print(near.send(b"x", socket.MSG_DONTWAIT))
        near.settimeout(30)
        print(near.sendall(large))
        near.close(); thread.join(); print(sum(got))
    """,
    "a descriptor is closed at once": """
        import os
        reader, writer = os.pipe()
        os.close(reader)
        try: os.write(writer, b"x")
        except BrokenPipeError: print("no reader")
        low = os.dup(writer); os.close(low); print(os.dup(writer) == low)
        os.close(low); os.dup2(writer, low); time.sleep(0.01); os.fstat(low)
        for closed in (reader, -1):
            try: os.close(closed)
            except OSError as error: print(error)
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
        for _ in range(100):
            for end in os.pipe(): os.close(end)
        print("none is left open")
    """,
    "a descriptor is closed while a thread waits for it": """
        import os
        reader, writer = os.pipe()
        ended = []
        def read():
            try: ended.append(os.read(reader, 1))
            except OSError: ended.append(b"")
        thread = threading.Thread(target=read); thread.start()
        time.sleep(0.05); os.write(writer, b"x"); os.close(reader); os.close(writer)
        thread.join(10); print(ended == [b"x"] or ended == [b""])
    """,
    "a thread gets a signal, and its clock is asked for, by its identity": """
        import signal
        got = []
        signal.signal(signal.SIGUSR1, lambda *_: got.append("signal"))
        def send(identity):
            signal.pthread_kill(identity, signal.SIGUSR1)
        def clock(): print(time.clock_gettime(time.pthread_getcpuclockid(threading.get_ident())) > 0)
        main = threading.get_ident()
        send(threading.main_thread().ident)
        threading.Thread(target=send, args=(main,)).start()
        while len(got) < 2: time.sleep(0.01)
        clock()
        thread = threading.Thread(target=clock); thread.start(); thread.join()
        for identity, number in ((threading.get_ident(), 0), (threading.get_ident(), 9999)):
            try: print(signal.pthread_kill(identity, number))
            except (OSError, ValueError) as error: print(type(error).__name__)
    """,
    "a socket's waits keep the kernel's limits": """
        import os, struct
        def tried(call, *arguments):
            began = time.monotonic()
            try: return call(*arguments)
            except BlockingIOError: return time.monotonic() - began < 5
        near, far = socket.socketpair()
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            near.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", 0, 50_000))
        print(tried(near.recv, 1), tried(near.recv_into, bytearray(1)), tried(near.recvfrom, 1))
        print(tried(near.recvmsg, 1), tried(near.recv, 2, socket.MSG_WAITALL))
        print(tried(near.makefile("rb", 0).read, 1))
        print(tried(near.dup().recv, 1), tried(socket.fromfd(near.fileno(), near.family, near.type).recv, 1))
        print(tried(socket.socket(fileno=os.dup(near.fileno())).recv, 1))
        print(tried(near.sendall, b"x" * 10_000_000), tried(near.sendmsg, [b"x"]))
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 50_000))
        print(tried(listener.accept))
        near.settimeout(0.05)
        try: near.recv(1)
        except TimeoutError: print("the timeout of Python comes first")
        import ssl
        context = ssl.create_default_context()
        for limit in (None, 0.05):
            peer, other = socket.socketpair()
            threading.Timer(0.05, other.close if limit is None else int).start()
            peer.settimeout(limit)
            try: context.wrap_socket(peer, server_hostname="localhost")
            except OSError as error: print(type(error).__name__)
    """,
    "a socket says what it is by name": """
        near, far = socket.socketpair(type=socket.SOCK_DGRAM)
        print(near.family.name, repr(near.type), near.dup().family.name)
        near.setblocking(False)
        print(repr(near.type), near.type == socket.SOCK_DGRAM)
    """,
    "poll tells all that the kernel tells": """
        import os
        reader, writer = os.pipe()
        poll = select.poll(); poll.register(reader, select.POLLIN)
        print(poll.poll(10), poll.poll(0))
        threading.Timer(0.05, os.close, (writer,)).start()
        print([event for _, event in poll.poll(20_000)] == [select.POLLHUP])
        poll.modify(reader, 0); print([event for _, event in poll.poll()] == [select.POLLHUP])
        os.close(reader); print([event for _, event in poll.poll()] == [select.POLLNVAL])
        poll.unregister(reader)
        reader, writer = os.pipe(); os.close(reader)
        poll.register(writer); print([event for _, event in poll.poll()] == [select.POLLOUT | select.POLLERR])
        poll.unregister(writer)
        with open(__file__) as file:
            poll.register(file, select.POLLIN); print([event for _, event in poll.poll()])
            poll.modify(file, select.POLLPRI); print(poll.poll(10))
        calls = (lambda: poll.poll("soon"), lambda: poll.unregister(writer), lambda: poll.modify(writer, 1))
        for call in calls:
            try: call()
            except (TypeError, KeyError, OSError) as error: print(type(error).__name__)
        near, far = socket.socketpair()
        with selectors.PollSelector() as selector:
            selector.register(near, selectors.EVENT_READ)
            threading.Timer(0.05, far.send, (b"x",)).start()
            print([event for _, event in selector.select(20)], selector.select(0) != [])
    """,
    "a function of C is no method of a class that has it": """
        import copy, inspect, io, os, pickle
        class Tools:
            sleep, read, open, select = time.sleep, os.read, io.open, select.select
            resolve = socket.gethostbyname
        tools = Tools()
        reader, writer = os.pipe(); os.write(writer, b"x")
        print(tools.sleep(0), tools.read(reader, 1), tools.select([], [], [], 0), tools.resolve("127.0.0.1"))
        with tools.open(__file__) as file: print(file.readline() != "")
        print(io.open is open, inspect.isroutine(open), copy.copy(open) is open)
        for function in (time.sleep, open, input, select.select, os.read, socket.gethostbyname):
            print(function.__name__, pickle.loads(pickle.dumps(function)) is function)
            print(repr(function))
    """,
    "a binary file of lines has no lines": """
        import os, warnings
        reader, writer = os.pipe()
        with warnings.catch_warnings(record=True) as told, open(writer, "wb", buffering=1):
            print(told[0].message, told[0].category.__name__, told[0].filename == __file__)
    """,
    "the main code sets signal handlers, and they do, and no thread": """
        import os, signal
        def handle(number, frame):
            signal.signal(number, lambda *_: got.append("second")); got.append("first")
        def set_one():
            try: signal.signal(signal.SIGUSR1, handle)
            except ValueError as error: print(error)
        got = []
        thread = threading.Thread(target=set_one); thread.start(); thread.join()
        set_one()
        for count in (1, 2):
            # Once while the main code waits, and once while another thread runs.
            threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1)).start()
            while len(got) < count: time.sleep(0.01)
        print(got, os.system("true"))
        thread = threading.Thread(target=lambda: print(os.system("exit 3"))); thread.start(); thread.join()
    """,
    "a question without standard input is an error": """
        del sys.stdin
        try: input("? ")
        except RuntimeError as error: print(error)
    """,
    "all of a message is waited for": """
        near, far = socket.socketpair()
        got = []
        def receive(): got.append(near.recv(6, socket.MSG_WAITALL))
        thread = threading.Thread(target=receive); thread.start()
        far.sendall(b"abc"); time.sleep(0.05); far.sendall(b"def"); thread.join()
        far.sendall(b"abc"); far.close()
        print(got, near.recv(6, socket.MSG_WAITALL))
    """,
}


@pytest.mark.parametrize("promise", PROGRAMS)
def test_on_fibers_as_on_threads(tmp_path: Path, promise: str) -> None:
    head = "import queue, select, selectors, socket, sys, threading, time\n"
    write(tmp_path / "program.py", head + textwrap.dedent(PROGRAMS[promise]))
    plain, ours = (python(*way, "program.py", cwd=tmp_path) for way in (RUN, ON_FIBERS))
    assert (plain.status, plain.errors) == (0, "")
    assert (ours.output, ours.errors, ours.status) == (plain.output, "", 0)


def test_select_takes_descriptors_beyond_1_023(tmp_path: Path) -> None:
    program = """
        import fcntl, resource
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        near, far = socket.socketpair()
        high = socket.socket(fileno=fcntl.fcntl(near.fileno(), fcntl.F_DUPFD, 1500))
        threading.Timer(0.05, far.send, (b"x",)).start()
        print(select.select([high], [], [], 5) == ([high], [], []), end=" ")
        print(select.select([], [high.fileno()], [high])[1:])
        high.recv(1)
        print(select.select(iter([high]), [], [], 0.01))
        try: select.select([-1], [], [])
        except ValueError as error: print(error)
    """
    write(tmp_path / "program.py", "import select, socket, threading\n" + textwrap.dedent(program))
    ours = python(*ON_FIBERS, "program.py", cwd=tmp_path)
    assert ours.errors == ""
    first, second, third = ours.output.splitlines()
    assert first.startswith("True ([15")
    assert (second, third) == ("([], [], [])", "file descriptor cannot be a negative integer (-1)")
