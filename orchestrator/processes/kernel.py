"""What only the kernel can say or do about processes. Linux; elsewhere it says and does nothing."""

import ctypes
import os
import signal
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

_SET_PDEATHSIG, _SET_NAME = 1, 15  # prctl(2)
_CREDENTIALS = struct.Struct("3i")  # ucred: pid, uid, gid
_GPU_FILES = ("/dev/nvidia", "/dev/kfd", "/dev/dri/", "/dev/dxg")
_CUDA, _MOST = "libcuda.so.1", 255  # and the largest exit code
# By which NVIDIA's and AMD's libraries are told which GPUs there are.
GPU_VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
    *("NVIDIA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"),
)
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


def die_with(parent: int) -> None:
    """Have this process killed when its parent ends, however that ends; at once if it has."""
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def set_name(name: str) -> None:
    """Name this process for top and ps; 15 bytes of it count."""
    if name:
        _prctl(_SET_NAME, ctypes.c_char_p(name.encode()))


def _prctl(option: int, value: object) -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def told_of_ends() -> int:
    """Return a descriptor that can be read whenever a child of this process may have ended.

    Not by pidfd_open(2), which older kernels, containers and builds of Python have not.
    """
    readable, written = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(written, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    return readable


def tell_of_no_ends() -> None:
    """Undo ``told_of_ends`` in a child of the process that has called it."""
    os.close(signal.set_wakeup_fd(-1))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def has_ended(child: int) -> bool:
    """Whether a child of this process has ended; its number stays its own until it is reaped."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def peer_uid(connection: socket.socket) -> int:
    """Return the user of the process at the other end of a Unix socket."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(data)[1])


def namespaces() -> list[str]:
    """Return what tells this process's container from others of the machine."""
    found = []
    for name in _NAMESPACES:
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/ns/{name}"))
    return found


def threads() -> int:
    """Return the number of this process's threads, those of libraries included."""
    return len(os.listdir("/proc/self/task"))


def holds_gpu() -> bool:
    """Whether this process has a GPU's device open, as it has once CUDA or HIP is initialised."""
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{descriptor}").startswith(_GPU_FILES):
                return True
    return False


def has_gpus() -> bool:
    """Whether this machine has devices of GPUs, whoever may use them."""
    return Path("/dev/kfd").exists() or any(
        path.name == "dxg" or path.name.startswith("nvidia") for path in Path("/dev").iterdir()
    )


def child_can_use_cuda() -> bool:
    """Whether a child of this process can use CUDA where a fresh process can.

    Tried by cuInit with all GPUs visible, which takes no memory of a GPU and makes no context.
    """
    answer = _cuda_init_in_child()
    return answer == 0 or answer == _cuda_init_afresh()


def _cuda_init_in_child() -> int:
    """Initialise CUDA's driver in a child; return its answer, 0 where there is no CUDA."""
    pid = os.fork()
    if pid == 0:
        for name in GPU_VARIABLES:
            os.environ.pop(name, None)
        try:
            os._exit(min(int(ctypes.CDLL(_CUDA).cuInit(0)), _MOST))
        except BaseException:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _cuda_init_afresh() -> int:
    """Return what ``_cuda_init_in_child`` does, of a process that was just started."""
    code = f"import ctypes, os; os._exit(min(ctypes.CDLL({_CUDA!r}).cuInit(0), {_MOST}))"
    variables = {name: value for name, value in os.environ.items() if name not in GPU_VARIABLES}
    command = [sys.executable, "-S", "-c", code]
    return subprocess.run(command, env=variables, capture_output=True, check=False).returncode


def memory_kills() -> int:
    """Return how many processes the kernel has ended for want of memory, in our cgroup if it can.

    The number means nothing by itself; it grows when there is one more.
    """
    files = [Path("/proc/vmstat")]
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                files.insert(0, Path(f"/sys/fs/cgroup{line[3:]}/memory.events"))
    for file in files:
        with suppress(OSError):
            counts = dict(line.split()[:2] for line in file.read_text().splitlines())
            if "oom_kill" in counts:
                return int(counts["oom_kill"])
    return 0


def was_killed_for_memory(status: int, before: int) -> bool:
    """Whether the kernel has ended a process for want of memory.

    ``status``: its exit code or, negative, the signal; ``before``: ``memory_kills`` at its begin.
    """
    return status == -signal.SIGKILL and memory_kills() > before


def own_memory_bytes() -> int:
    """Return the memory of this process that is in no file, in bytes; 0 where it is not known.

    A forked process begins with that of its parent, and what it only writes to counts once.
    """
    with suppress(OSError):
        _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
    return 0


def give_back_memory() -> None:
    """Have the C library return what it keeps of freed memory."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
