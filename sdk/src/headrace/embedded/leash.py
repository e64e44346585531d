"""Becomes the command given to it, after tying its life to that of the process that started it.

Run as a script. It keeps its process id: what is signalled is the command itself. Being a program
of its own, it needs no code between fork and exec, which a parent with threads must not have.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """``leash.py PARENT_PID COMMAND ...``."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the leash was on
        sys.exit(1)
    os.umask(0o077)  # what it writes is state: its owner's alone
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and what is ignored stays so over exec
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
