"""Locks of the system on fibers: what waits for one lets the fiber go on that is to release it."""

import textwrap
from pathlib import Path

import pytest

from .launch import RUN, python, write
from .on_fibers import ON_FIBERS

HEAD = """
import contextlib, fcntl, os, sqlite3, struct, threading, time
took = []
def hold(take, release):
    take("first"); held.set(); may_release.wait(); took.append("released"); release()
def want(take, release):
    take("second"); took.append("second"); release()
def contend(take, release, hold=hold, want=want):
    global held, may_release
    held, may_release = threading.Event(), threading.Event()
    took.clear()
    first = threading.Thread(target=hold, args=(take, release)); first.start(); held.wait()
    second = threading.Thread(target=want, args=(take, release)); second.start()
    time.sleep(0.1)  # this thread goes on though the second one waits
    took.append("another"); may_release.set(); first.join(); second.join()
    print(took)
files = threading.local()
def file():
    files.file = open("lock", "wb+"); return files.file
"""

FILES = {
    "flock": """
        contend(lambda _: fcntl.flock(file(), fcntl.LOCK_EX), lambda: files.file.close())
        with open("lock") as one, open("lock") as other:
            fcntl.flock(one, fcntl.LOCK_EX)
            try: fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error: print(error)
            print(fcntl.flock(one, fcntl.LOCK_UN), fcntl.flock(other.fileno(), fcntl.LOCK_SH))
        try: fcntl.flock(12345, fcntl.LOCK_EX)
        except OSError as error: print(error)
    """,
    "fcntl": """
        flock = lambda kind: struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0)
        take = lambda _: fcntl.fcntl(file(), fcntl.F_OFD_SETLKW, flock(fcntl.F_WRLCK))
        contend(take, lambda: files.file.close())
        print(fcntl.fcntl(0, fcntl.F_GETFD), type(fcntl.fcntl(file(), fcntl.F_GETLK, flock(fcntl.F_RDLCK))))
    """,
}

# Locks of a process (lockf) are wanted by another one.
OF_PROCESSES = """
    import subprocess, sys
    HOLDER = "import fcntl, sys; f = open('lock', 'wb+'); fcntl.lockf(f, fcntl.LOCK_EX); print(1, flush=True)"
    HOLDER += "; sys.stdin.read()"
    flock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    for take in (
        lambda f: fcntl.lockf(f, fcntl.LOCK_EX),
        lambda f: os.lockf(f.fileno(), os.F_LOCK, 0),
        lambda f: fcntl.fcntl(f, fcntl.F_SETLKW, flock) and None,
    ):
        words = [sys.executable, "-S", "-c", HOLDER]
        child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        child.stdout.readline(); took.clear()
        def want():
            with open("lock", "wb+") as f: took.append(take(f))
        thread = threading.Thread(target=want); thread.start()
        time.sleep(0.1); took.append("another"); child.communicate(); thread.join()
        print(took)
    with open("lock", "wb+") as f:
        print(fcntl.lockf(f, fcntl.LOCK_SH, 10, 5, 0), fcntl.lockf(f, fcntl.LOCK_UN))
        print(os.lockf(f.fileno(), os.F_ULOCK, 1))
"""

SQLITE = {
    "begin": """
        dbs = {}
        def take(name):
            dbs[name] = db = sqlite3.connect("db", isolation_level=None)
            files.db = db
            db.execute("begin immediate")
        contend(take, lambda: (files.db.execute("commit"), files.db.close()))
    """,
    "implicit transactions, with, and executemany": """
        with sqlite3.connect("db") as db: db.execute("create table t (n)")
        def take(name):
            files.db = sqlite3.connect("db")
            files.db.executemany("insert into t values (?)", iter([(name,), (name,)]))
        def release():
            with files.db: pass
            files.db.close()
        contend(take, release)
        print(sqlite3.connect("db").execute("select n from t order by n").fetchall())
    """,
    "executescript": """
        def take(name):
            files.db = sqlite3.connect("db")
            script = "begin immediate; create table if not exists t (n); insert into t values (1);"
            files.db.executescript(script)
        contend(take, lambda: (files.db.commit(), files.db.close()))
        print(sqlite3.connect("db").execute("select count(*) from t").fetchone())
    """,
    "a commit that waits for a reader": """
        db = sqlite3.connect("db")
        db.execute("create table t (n)")
        db.executemany("insert into t values (?)", [(n,) for n in range(1000)])
        db.commit()
        def hold(take, release):
            reader = sqlite3.connect("db"); rows = reader.execute("select n from t"); next(rows); held.set()
            may_release.wait(); took.append("released"); rows.close(); reader.close()
        def want(take, release):
            writer = sqlite3.connect("db")
            writer.execute("insert into t values (1)")
            writer.commit()
            took.append("second")
        contend(None, None, hold, want)
    """,
    "a database that stays locked": """
        holder = sqlite3.connect("db", isolation_level=None); holder.execute("begin exclusive")
        def try_it(seconds, said):
            began = time.monotonic()
            try: said(sqlite3.connect("db", timeout=seconds))
            except sqlite3.OperationalError as error:
                print(error, error.sqlite_errorname, seconds <= time.monotonic() - began < seconds + 1)
        for seconds in (0, 0.3):
            arguments = (seconds, lambda db: db.execute("create table t (n)"))
            thread = threading.Thread(target=try_it, args=arguments)
            thread.start(); thread.join()
        def by_pragma(db):
            print(db.execute("PRAGMA busy_timeout").fetchall())
            print(db.execute("PRAGMA busy_timeout = 200").fetchall())
            db.execute("begin immediate")
        thread = threading.Thread(target=try_it, args=(0.2, by_pragma)); thread.start(); thread.join()
    """,
    "two that upgrade their reads fail at once": """
        db = sqlite3.connect("db"); db.execute("create table t (n)"); db.commit()
        one, other = (sqlite3.connect("db", isolation_level=None, timeout=30) for _ in (1, 2))
        for each in (one, other): each.execute("begin"); each.execute("select * from t").fetchall()
        one.execute("insert into t values (1)")
        began = time.monotonic()
        def upgrade():
            try: other.execute("insert into t values (2)")
            except sqlite3.OperationalError as error: print(error, time.monotonic() - began < 5)
        upgrade()
    """,
    "classes of the program's own": """
        class Connection(sqlite3.Connection):
            def __init__(self, *arguments, **keywords):
                super().__init__(*arguments, **keywords)
                self.execute("pragma user_version = 3")
                self.own = "own"
        class Cursor(sqlite3.Cursor):
            def twice(self): return self.fetchone() * 2
        db = sqlite3.connect("db", factory=Connection)
        print(db.own, isinstance(db, Connection), db.execute("select 1").fetchone())
        print(db.cursor(Cursor).execute("select 1").twice())
        db.row_factory = sqlite3.Row
        print(db.execute("pragma busy_timeout").fetchone()[0], dict(db.execute("select 1 as one").fetchone()))
        made = sqlite3.connect("db", factory=lambda *a, **k: Connection(*a, **k))
        print(type(made).__name__, type(db).__name__, type(db).__mro__[-3:])
        for arguments in ((), ("db", "no number"), (":memory:", 5, 0, None, True)):
            try: print(sqlite3.connect(*arguments).in_transaction)
            except Exception as error: print(type(error))
        db.execute("create table u (n)")
        with contextlib.suppress(ZeroDivisionError), db: db.execute("insert into u values (1)"); 1 / 0
        print(db.execute("select count(*) from u").fetchone()[0])
        print([type(row).__name__ for row in db.execute("select 1")])
    """,
}


CASES = {**FILES, "processes": OF_PROCESSES, **SQLITE}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_on_fibers_as_on_threads(tmp_path: Path, case: str) -> None:
    outputs = []
    for name, way in (("plain", RUN), ("ours", ON_FIBERS)):
        write(tmp_path / name / "program.py", HEAD + textwrap.dedent(case))
        done = python("-W", "ignore", *way, "program.py", cwd=tmp_path / name)
        assert (done.status, done.errors) == (0, ""), done.errors
        outputs.append(done.output)
    assert outputs[0] == outputs[1] != ""
