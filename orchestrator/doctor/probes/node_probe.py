"""What a process finds around it: software, disks, GPUs. Loads torch only to ask about a GPU."""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from orchestrator.doctor.findings.facts import FreeSpace, Gpu, NodeState, Software, TorchDevice
from orchestrator.grid.locations import trsp_home
from orchestrator.scratch import temporary_root
from orchestrator.store.copies.node_cache import FOLDER as CACHE_FOLDER
from trsp.errors import first_line
from trsp.versions import library_versions

LIBRARIES = (
    "torch",
    "transformers",
    "deepspeed",
    "ray",
    "mlflow",
    "datasets",
    "lm-eval",
    "pyarrow",
    "safetensors",
)
_PACKAGES = ("trsp", "orchestrator")
_NVIDIA_SMI_S = 15
_QUERY = "name,driver_version,memory.total,memory.free"
_MIB = 2**20


def node_state(other_folders: Iterable[tuple[str, str]] = ()) -> NodeState:
    """Return what can be said of this machine at once.

    ``other_folders``: (name, path) of folders that will be written to, beside those of every run.
    """
    folders = [*_usual_folders(), *other_folders]
    spaces = tuple(_space(*each) for each in folders)
    return NodeState(software(), spaces, machine_gpus(), time.time())


def software() -> Software:
    """Return the software that this process would run."""
    return Software(platform.python_version(), library_versions(LIBRARIES), _code())


def torch_device() -> TorchDevice:
    """Return what torch makes of the first GPU that this process may use."""
    import torch

    if not torch.cuda.is_available():
        return TorchDevice(
            cuda=torch.version.cuda or "", error="torch.cuda.is_available() is False"
        )
    try:
        free_bytes, total_bytes = torch.cuda.mem_get_info()
        square = torch.ones(64, 64, device="cuda", dtype=torch.bfloat16)
        torch.cuda.synchronize()
        has_bf16 = bool((square @ square)[0, 0] == 64) and torch.cuda.is_bf16_supported()
    except RuntimeError as error:
        return TorchDevice(cuda=torch.version.cuda or "", error=first_line(error))
    return TorchDevice(
        torch.cuda.get_device_name(),
        torch.version.cuda or "",
        torch.cuda.get_device_capability(),
        has_bf16,
        total_bytes,
        free_bytes,
    )


def _code() -> str:
    """Return a hash of our own sources, as this process would import them."""
    root = Path(__file__).resolve().parents[3]
    whole = hashlib.sha256()
    for file in sorted(file for package in _PACKAGES for file in (root / package).rglob("*.py")):
        whole.update(f"{file.relative_to(root).as_posix()}\0".encode() + file.read_bytes())
    return whole.hexdigest()[:12]


def _usual_folders() -> list[tuple[str, str]]:
    """Return the folders that every run writes to: temporary files, ours, and the hub's cache."""
    from huggingface_hub import constants

    cache = os.environ.get(CACHE_FOLDER)  # without it, where temporary files are
    return [
        ("temp folder", str(temporary_root())),
        *([(CACHE_FOLDER, str(Path(cache).expanduser()))] if cache else []),
        ("TRSP_HOME", str(trsp_home())),
        ("HF cache", constants.HF_HUB_CACHE),
    ]


def _space(name: str, path: str) -> FreeSpace:
    """Return the room in a folder, or in the one in which it would be made."""
    folder = Path(path).absolute()
    existing = next(one for one in (folder, *folder.parents) if one.is_dir())
    try:
        free_bytes = shutil.disk_usage(existing).free
        with tempfile.TemporaryFile(dir=existing):
            return FreeSpace(name, path, free_bytes)
    except OSError as error:
        return FreeSpace(name, path, 0, str(error))


def machine_gpus() -> tuple[Gpu, ...]:
    """Return the machine's NVIDIA GPUs, whoever uses them; none where their tool is absent."""
    command = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        listed = subprocess.run(
            command, capture_output=True, text=True, timeout=_NVIDIA_SMI_S, env=environment
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return gpus_listed(listed.stdout) if listed.returncode == 0 else ()


def gpus_listed(text: str) -> tuple[Gpu, ...]:
    """Return the GPUs in nvidia-smi's answer, one per line; memory in MiB, 0 where unknown."""
    gpus = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 4:
            sizes = [int(part) * _MIB if part.isdigit() else 0 for part in parts[2:]]
            gpus.append(Gpu(parts[0], parts[1], *sizes))
    return tuple(gpus)
