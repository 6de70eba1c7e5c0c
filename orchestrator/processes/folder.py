"""The current folder of a process, also where it was deleted under its feet.

Raylets of one machine that share a session share the folder of a job's code there, and one that
starts deletes it and writes it anew. In a process whose current folder is gone oneMKL does not
load, and with it torch: "Intel oneMKL FATAL ERROR: Cannot load libtorch_cpu.so".
"""

import os
import tempfile
from contextlib import suppress

_GONE = " (deleted)"  # what Linux adds to the name


def present_folder() -> str:
    """Return the current folder; where it is gone, go to the one that has its name now.

    Where there is none either, go to the folder for temporary files.
    """
    with suppress(FileNotFoundError):
        return os.getcwd()
    name = ""
    with suppress(OSError):
        name = os.readlink("/proc/self/cwd").removesuffix(_GONE)
    os.chdir(name if os.path.isdir(name) else tempfile.gettempdir())
    return os.getcwd()
