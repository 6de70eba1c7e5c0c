"""The proof that a process can be forked after its imports."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.processes import kernel, preloads
from orchestrator.processes.kernel import child_can_use_cuda
from orchestrator.processes.preloads import UnfitError, import_all


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that nobody has imported."""
    (tmp_path / "preloaded_module.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(preloads, "threads", lambda: 1)  # those of pytest's process are not meant
    monkeypatch.setattr(preloads, "gc", type("", (), {"collect": int, "freeze": int}))
    monkeypatch.delitem(sys.modules, "preloaded_module", raising=False)
    return "preloaded_module"


def test_modules_after_which_no_child_can_use_cuda_are_named(module: str) -> None:
    with pytest.raises(UnfitError) as unfit:
        import_all([module], lambda: False)
    assert unfit.value.modules == [module]


def test_a_module_that_opens_a_gpu_is_named(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preloads, "holds_gpu", lambda: True)
    with pytest.raises(UnfitError) as unfit:
        import_all([module], lambda: True)
    assert unfit.value.modules == [module]


def test_what_is_there_already_proves_nothing_anew(module: str) -> None:
    import_all(["sys"], lambda: False)


@pytest.mark.parametrize(
    ("child", "fresh", "fit"), [(0, 0, True), (3, 0, False), (100, 100, True), (100, 0, False)]
)
def test_a_child_is_to_have_what_a_fresh_process_has_of_cuda(
    child: int, fresh: int, fit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "_cuda_init_in_child", lambda: child)
    monkeypatch.setattr(kernel, "_cuda_init_afresh", lambda: fresh)
    assert child_can_use_cuda() is fit


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A stand-in for CUDA's driver: like that, it fails in children of who has called it."""
    source = tmp_path / "cuda.c"
    source.write_text(
        "#include <unistd.h>\n#include <stdlib.h>\nstatic int owner;\n"
        "int cuInit(unsigned flags) { if (!owner) owner = getpid();\n"
        '  return getenv("CUDA_VISIBLE_DEVICES") ? 100 : owner == getpid() ? 0 : 3; }\n'
    )
    library = str(tmp_path / "libcuda.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, str(source)], check=True)
    monkeypatch.setattr(kernel, "_CUDA", library)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return library


def test_a_child_of_who_has_called_the_driver_cannot(driver: str) -> None:
    assert child_can_use_cuda()
    ctypes.CDLL(driver).cuInit(0)
    assert not child_can_use_cuda()
