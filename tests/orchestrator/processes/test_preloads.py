"""The proof that a process can be forked after its imports."""

import sys
from pathlib import Path

import pytest

from orchestrator.processes import preloads
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


def test_where_there_is_no_cuda_a_child_can_use_it_as_well_as_its_parent() -> None:
    assert child_can_use_cuda()
