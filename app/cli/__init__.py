"""The command `flyteadmin`: one module per group of commands."""

import os
import signal
import sys

# A supervisor of processes may send SIGHUP at once, for example to reload settings that it has just written. It would
# end a server that still imports its modules. Child programs get the default action again.
if "serve" in sys.argv and hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, lambda *_: None)

# Ctrl-C ends a command that still imports its modules without a traceback, as it ends programs of other languages.
# `main.main` restores Python's handler. Other programs that import this package keep theirs. `-m` is `python -m`.
if (
    os.path.basename(sys.argv[0]).removesuffix(".exe") in ("flyteadmin", "-m")
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
