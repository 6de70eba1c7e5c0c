"""Sets the wall clock of a Python process ahead by ``TRIAL_CLOCK_AHEAD_S`` seconds.

A process has it that finds this folder in its PYTHONPATH.
"""

import os
import time

_AHEAD_S = float(os.environ.get("TRIAL_CLOCK_AHEAD_S", "0"))
if _AHEAD_S:
    _time, _time_ns = time.time, time.time_ns
    time.time = lambda: _time() + _AHEAD_S
    time.time_ns = lambda: _time_ns() + int(_AHEAD_S * 1e9)
