"""On fibers a child's exit status goes to what waits for that child, as it does on threads."""

from pathlib import Path

import pytest

from .launch import python, write
from .on_fibers import ON_FIBERS

BEGIN = """
import asyncio, multiprocessing, os, pty, select, signal, subprocess, sys, threading, time
import socketserver

def end(status, seconds=0.05):
    time.sleep(seconds)
    os._exit(status)

def command(status):
    return [sys.executable, "-S", "-E", "-c", f"import os; os._exit({status})"]

def code(pair):
    return os.waitstatus_to_exitcode(pair[1])

def main():
    # From here on gevent looks for children.
    subprocess.run(["true"], check=True)
"""

END = """
if __name__ == "__main__":
    main()
"""

WAYS = {
    **{
        f"multiprocessing, {method}": f"""
    multiprocessing.set_start_method({method!r})
    process = multiprocessing.Process(target=end, args=(3,))
    process.start()
    process.join(30)
    print(process.exitcode, process.is_alive())
    ended = multiprocessing.Process(target=end, args=(4, 0))
    ended.start()
    select.select([ended.sentinel], [], [], 30)  # it ends while the program does something else
    subprocess.run(["true"], check=True)
    ended.join(30)
    print(ended.exitcode)
"""
        for method in ("spawn", "forkserver", "fork")
    },
    "posix_spawn": """
    for start in (os.posix_spawn, os.posix_spawnp):
        print(code(os.waitpid(start(sys.executable, command(5), os.environ), 0)))
""",
    "spawnv": """
    print(os.spawnv(os.P_WAIT, sys.executable, command(6)))
    print(code(os.waitpid(os.spawnv(os.P_NOWAIT, sys.executable, command(7)), 0)))
""",
    "fork, and each call that waits": """
    for wait in (
        lambda pid: code(os.waitpid(pid, 0)),
        lambda pid: code(os.waitpid(-1, 0)),
        lambda pid: code(os.wait()),
        lambda pid: code(os.wait3(0)),
        lambda pid: code(os.wait4(pid, 0)),
        lambda pid: os.waitid(os.P_PID, pid, os.WEXITED).si_status,
        lambda pid: os.waitid(os.P_ALL, 0, os.WEXITED).si_status,
    ):
        pid = os.fork()
        if not pid:
            end(8)
        print(wait(pid))
        try:
            print(os.waitpid(pid, os.WNOHANG))
        except ChildProcessError:
            print("no child left")
""",
    "pty.fork": """
    pid, terminal = pty.fork()
    if not pid:
        end(9)
    print(code(os.waitpid(pid, 0)))
    os.close(terminal)
""",
    "subprocess": """
    first = subprocess.Popen(command(10))
    print(first.wait(30), first.returncode)
    second = subprocess.Popen(command(11))
    while second.poll() is None:
        time.sleep(0.01)
    print(second.poll())
    third = subprocess.Popen(command(12))
    print(code(os.waitpid(third.pid, 0)))
    print(subprocess.run(["sh", "-c", "kill -9 $$"]).returncode, os.system("exit 13") >> 8)
    print(os.popen("exit 14").close() >> 8)
""",
    "subprocess, and a wait for any child": """
    first = subprocess.Popen(command(21))
    print(code(os.waitpid(-1, 0)))
    second = subprocess.Popen(command(22))
    select.select([os.pidfd_open(second.pid)], [], [], 30)  # it has ended by now
    print(code(os.wait()))
    pipe = os.popen("exit 23")
    print(code(os.wait()), pipe.close())
    with subprocess.Popen("echo 24", shell=True, stdout=subprocess.PIPE, text=True) as third:
        print(type(third.stdout), third.stdout.read())
""",
    "the shell of os.system has what is inherited": """
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    def show(event, arguments):
        # What else the two programs have open decides which descriptor it is.
        if event == "os.system": print(arguments[0].replace(b"&%d" % writer, b"&the writer"))
    sys.addaudithook(show)
    print(os.system(f"echo here >&{writer}"), os.read(reader, 9))
    print(os.system("grep SigIgn /proc/self/status"), flush=True)
""",
    "subprocess in threads": """
    found = []
    def run(status):
        found.append(subprocess.run(command(status)).returncode)
    threads = [threading.Thread(target=run, args=(status,)) for status in (15, 16)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(sorted(found))
""",
    "asyncio": """
    async def run():
        process = await asyncio.create_subprocess_exec(*command(17))
        return await process.wait()
    print(asyncio.run(run()))
""",
    "a handler of SIGCHLD": """
    ended = []
    def collect(*_):
        try:
            while (pair := os.waitpid(-1, os.WNOHANG))[0]:
                ended.append(code(pair))
        except ChildProcessError:
            pass
    signal.signal(signal.SIGCHLD, collect)
    print(signal.getsignal(signal.SIGCHLD) is collect)
    os.posix_spawn(sys.executable, command(18), os.environ)
    if not os.fork():
        end(19)
    deadline = time.monotonic() + 30
    while len(ended) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    print(sorted(ended))
""",
    "the end of a pipe's other half": """
    reader, writer = os.pipe()
    threading.Timer(0.05, os.close, [writer]).start()
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    print(len(poll.poll(30_000)), os.read(reader, 1))
""",
    "while others go on": """
    for wait in (lambda pid: os.waitpid(pid, 0), lambda pid: os.wait(), lambda pid: os.wait4(pid, 0)):
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(writer)
            os.dup2(reader, 0)
            os.execv("/bin/cat", ["cat"])
        os.close(reader)
        # The child ends when another thread has gone on.
        threading.Timer(0.05, os.close, [writer]).start()
        print(wait(pid)[:2] == (pid, 0))
""",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_child_s_status_is_what_it_is_on_threads(way: str, tmp_path: Path) -> None:
    write(tmp_path / "program.py", BEGIN + WAYS[way] + END)
    plain = python("-W", "ignore", "program.py", cwd=tmp_path)
    ours = python("-W", "ignore", *ON_FIBERS, "program.py", cwd=tmp_path)
    assert plain.status == 0, plain.errors
    assert (ours.output, ours.status) == (plain.output, 0), ours.errors


def test_a_child_process_of_a_thread_of_the_system_s_tells_its_status(tmp_path: Path) -> None:
    program = "    import manyhands\n    print(manyhands.blocking(subprocess.run, command(20)).returncode)\n"
    write(tmp_path / "program.py", BEGIN + program + END)
    assert python(*ON_FIBERS, "program.py", cwd=tmp_path).output == "20\n"
