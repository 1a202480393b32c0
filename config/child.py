"""Become a command that is killed when its parent ends: `child.py PARENT_PID COMMAND…`. A script of its own, so that
the parent needs no code between fork and exec."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h

parent, *command = sys.argv[1:]
if sys.platform == "linux":
    # It stays set across exec.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(parent):
    sys.exit()  # the parent had ended before
os.execv(command[0], command)  # noqa: S606 - the command of a program of ours
