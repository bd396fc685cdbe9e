"""Measures the floor of a task: fork a process that has flytekit imported, and exit.

For each line of standard input, a number of forks, it prints the CPU time of one fork in milliseconds, in parent and
child together.
"""

import gc
import os
import resource
import sys

import flytekit.bin.entrypoint  # noqa: F401 - what a fork server has imported.


def seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


gc.collect()
gc.freeze()
for line in sys.stdin:
    count = int(line)
    before = seconds()
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    sys.stdout.write(f"{(seconds() - before) / count * 1000}\n")
    sys.stdout.flush()
