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
    "what the program's own Connection does": """
        db = sqlite3.connect("db"); db.execute("create table t (n)"); db.commit()
        def take(name):
            files.db = db = sqlite3.Connection("db", isolation_level=None); db.execute("begin immediate")
        contend(take, lambda: (files.db.execute("commit"), files.db.close()))
        print(type(db) is sqlite3.Connection, type(db.execute("select 1")) is sqlite3.Cursor)
    """,
    "waits besides those of execute": """
        db = sqlite3.connect("db"); db.execute("create table t (n)"); db.execute("insert into t values (1)")
        db.commit()
        def hold_by_reading(take, release):
            reader = sqlite3.connect("db"); rows = reader.execute("select n from t"); next(rows); held.set()
            may_release.wait(); took.append("released"); rows.close(); reader.close()
        def wanting(what):
            def want(take, release):
                writer = sqlite3.connect("db"); what(writer); took.append("second"); writer.close()
            return want
        def fetch(db):
            db.isolation_level = None
            print(db.execute("insert into t values (2) returning n").fetchall())
        def begin_and_set(db):
            db.execute("insert into t values (3)"); db.isolation_level = None
        for what in (fetch, begin_and_set): contend(None, None, hold_by_reading, wanting(what))
        def hold_by_writing(take, release):
            holder = sqlite3.connect("other", isolation_level=None); holder.execute("begin exclusive")
            held.set(); may_release.wait(); took.append("released"); holder.execute("commit"); holder.close()
        def back_up(db):
            db.backup(sqlite3.connect("other"))
        contend(None, None, hold_by_writing, wanting(back_up))
        print(sqlite3.connect("other").execute("select n from t").fetchall())
    """,
    "what the program sees of a connection": """
        seen, context = [], __import__("contextvars").ContextVar("context"); context.set("mine")
        db = sqlite3.connect("db"); db.execute("create table t (n)"); db.commit()
        db.set_trace_callback(seen.append)
        db.executescript("PRAGMA BUSY_TIMEOUT = 20000; insert into t values (1);")
        db.set_authorizer(lambda action, *_: sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_PRAGMA else 0)
        name = threading.current_thread().name
        here = lambda: f"{context.get(None)} {threading.current_thread().name == name}"
        db.create_function("here", 0, here)
        def locked():
            holder = sqlite3.connect("db", isolation_level=None); holder.execute("begin immediate")
            held.set(); time.sleep(0.1); holder.execute("commit"); holder.close()
        def lock():
            global held
            held = threading.Event(); threading.Thread(target=locked).start(); held.wait()
        lock(); db.execute("insert into t values (here())"); db.commit()
        lock(); db.executescript("insert into t values (here())")
        one, other = __import__("socket").socketpair()
        def feed():
            for n in range(3): other.sendall(b"%d\\n" % n); time.sleep(0.05)
            other.close()
        lock(); threading.Thread(target=feed).start()
        with one, one.makefile() as lines:
            print(db.executemany("insert into t values (?)", ((line.strip(),) for line in lines)).rowcount)
        print(seen, db.execute("select * from t").fetchall())
    """,
    "methods of the program's own": """
        class Connection(sqlite3.Connection):
            def __init__(self, *arguments, **keywords):
                super().__init__(*arguments, **keywords)
                self.execute("create table if not exists t (n)"); self.calls = []
            def cursor(self, *arguments): self.calls.append("cursor"); return super().cursor(*arguments)
            said = []
            def execute(self, sql, *arguments): self.said.append(sql); return super().execute(sql, *arguments)
        for keywords in ({}, {"check_same_thread": False}):
            db = sqlite3.connect("db", factory=Connection, **keywords)
            db.execute("select 1"); db.cursor().execute("select 2")
            db.executemany("insert into t values (?)", [(1,)])
            print(db.calls, db.said, type(db).__name__); db.rollback(); db.close()
    """,
    "a connection that threads share": """
        holder = sqlite3.connect("db", isolation_level=None); holder.execute("create table t (n)")
        shared = sqlite3.connect("db", check_same_thread=False, isolation_level=None)
        print(isinstance(shared, sqlite3.Connection), isinstance(shared.cursor(), sqlite3.Cursor))
        rows = shared.execute("select 1 union select 2 union select 3")
        holder.execute("begin immediate")
        shared.set_trace_callback(lambda sql: took.append("asked") if "7" in sql else None)
        def insert(): shared.execute("insert into t values (7)"); took.append("inserted")
        def read(): took.append(next(rows)); took.append(shared.execute("select count(*) from t").fetchone())
        inserting, reading = threading.Thread(target=insert), threading.Thread(target=read)
        inserting.start()
        while not took: time.sleep(0.01)
        reading.start(); time.sleep(0.1)
        took.append("another"); holder.execute("commit"); inserting.join(); reading.join()
        print(sorted(map(str, took)), took.index("another") < took.index((1,)))
        shared.isolation_level = "IMMEDIATE"
        with shared: shared.executemany("insert into t values (?)", [(8,), (9,)])
        print(shared.isolation_level, shared.in_transaction, [*shared.execute("select n from t")])
        try: shared.execute("no statement")
        except sqlite3.OperationalError as error: print(error)
        shared.close()
    """,
    "a look for the module before its import": """
        import importlib.util, subprocess, sys
        PROGRAM = "import importlib.util; importlib.util.find_spec('_sqlite3')\\n" + HEAD
        PROGRAM += "contend(lambda _: (setattr(files, 'db', sqlite3.connect('db', isolation_level=None)),"
        PROGRAM += " files.db.execute('begin immediate')), lambda: files.db.execute('commit'))"
        print(subprocess.check_output([sys.executable, "-c", PROGRAM], text=True))
    """,
    "an exception of a signal handler meanwhile": """
        import signal
        db = sqlite3.connect("db"); db.execute("create table t (n)"); db.commit()
        class Alarm(Exception): pass
        def alarm(*_): raise Alarm
        signal.signal(signal.SIGALRM, alarm)
        def hold():
            holder = sqlite3.connect("db", isolation_level=None); holder.execute("begin exclusive")
            held.set(); signal.setitimer(signal.ITIMER_REAL, 0.1); time.sleep(0.3)
            holder.execute("commit"); holder.close()
        held = threading.Event(); thread = threading.Thread(target=hold); thread.start(); held.wait()
        try: db.execute("insert into t values (1)"); time.sleep(10)
        except Alarm: print("raised when the call was over")
        thread.join(); db.rollback()
    """,
}


CASES = {**FILES, "processes": OF_PROCESSES, **SQLITE}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_on_fibers_as_on_threads(tmp_path: Path, case: str) -> None:
    outputs = []
    for name, way in (("plain", RUN), ("ours", ON_FIBERS)):
        head = f"HEAD = {HEAD!r}\nexec(HEAD)\n"
        write(tmp_path / name / "program.py", head + textwrap.dedent(case))
        done = python("-W", "ignore", *way, "program.py", cwd=tmp_path / name)
        assert (done.status, done.errors) == (0, ""), done.errors
        outputs.append(done.output)
    assert outputs[0] == outputs[1] != ""
