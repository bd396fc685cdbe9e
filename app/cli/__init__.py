"""The command `flyteadmin`: one module per group of commands."""

import signal
import sys

# A supervisor of processes may send SIGHUP at once, for example to reload settings that it has just written. It would
# end a server that still imports its modules. Child programs get the default action again.
if "serve" in sys.argv and hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, lambda *_: None)
