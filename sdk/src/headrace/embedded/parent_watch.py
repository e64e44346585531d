"""A wrapper that becomes the given command, after tying its life to that of the process that started it.

Run this as a script. It keeps its process id: signals reach the command itself. As a separate
program it needs no code between fork and exec, which a parent with threads must not have.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run ``parent_watch.py PARENT_PID COMMAND ...``."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before the leash was on
        sys.exit(1)
    os.umask(0o077)  # its files are state: only their owner may read them
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores this signal, and exec would keep it ignored
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
