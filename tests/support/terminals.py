"""Programs that have a terminal."""

AT_A_TERMINAL = (
    "import os, sys; os.open(sys.argv[1], os.O_RDWR); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)
"""A session leader without a terminal gets the one that it opens (credentials(7), Linux)."""

UNDER_NOHUP = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
