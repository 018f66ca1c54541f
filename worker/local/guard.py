"""Become another program, one that ends when its parent does.

Usage: ``python guard.py PARENT_PID PROGRAM ARGUMENT...``

On Linux the kernel is asked to send SIGTERM when the parent dies, even by SIGKILL (prctl PR_SET_PDEATHSIG, which
survives exec). Elsewhere the program is just run. Imports the standard library alone; started with ``-I -S``.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(sys.argv[1]):
            sys.exit("the parent has gone")
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606  # no shell is the point
