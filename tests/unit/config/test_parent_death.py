import ctypes
import os
import signal
import sys

import pytest

from config.startup import PR_SET_PDEATHSIG, die_with_parent

PR_GET_PDEATHSIG = 2  # linux/prctl.h


@pytest.mark.skipif(sys.platform != "linux", reason="others have no such signal")
def test_the_kernel_ends_a_child_with_its_parent() -> None:
    kernel, sent = ctypes.CDLL(None), ctypes.c_int()
    die_with_parent(os.getppid())
    try:
        assert kernel.prctl(PR_GET_PDEATHSIG, ctypes.byref(sent)) == 0
    finally:
        kernel.prctl(PR_SET_PDEATHSIG, 0)
    assert sent.value == signal.SIGKILL
