"""What grids cost of which nothing is done: hours, time, bytes, money."""

import pytest

from orchestrator.costs.bands import Band
from orchestrator.costs.machine import machine_of
from orchestrator.grid.run_settings import PartOfCluster, Resources
from orchestrator.layouts.capacity import Capacity
from orchestrator.stages.stage_specs import StageKind
from tests.orchestrator.costs.planned import (
    BYTES,
    LAYER_BYTES,
    TWO_CORES,
    cost,
    gpus,
    of_7b,
    of_kind,
)

TRAINED = {"transfer": {"name": "drift", "steps": 10, "blocks_per_step": 1}, "drift": 0.1}
LONG = {"text": {"name": "wiki", "path": "wiki.jsonl"}, "blocks": 5000, "block_tokens": 2048}


def close(band: Band, likely: float, within: float = 0.01) -> bool:
    return band.likely == pytest.approx(likely, rel=within)


def test_a_checkpoint_is_its_parameters_without_the_layers_that_go() -> None:
    assert close(cost().kept_bytes, BYTES - 8 * LAYER_BYTES)
    assert cost().written_bytes == cost().kept_bytes


def test_every_checkpoint_is_kept() -> None:
    assert close(cost(ratios=[0.25, 0.5]).kept_bytes, 2 * BYTES - 24 * LAYER_BYTES)


def test_strengths_that_may_choose_the_same_layers_make_a_band() -> None:
    """At the least all three share what follows, at the most none; expected is the middle."""
    kept = cost(gate_l1=[1e-3, 1e-2, 1e-1]).kept_bytes
    one = cost(gate_l1=1e-3).kept_bytes.likely
    assert kept.low == pytest.approx(one, rel=0.01)
    assert (kept.likely, kept.high) == pytest.approx((2 * kept.low, 3 * kept.low), rel=0.01)


def test_other_selectors_are_not_expected_to_choose_the_same() -> None:
    kept = cost(selectors=["block_influence", "sleb"]).kept_bytes
    assert kept.low == kept.high


def test_nothing_measured_may_be_wrong_by_a_factor_of_two() -> None:
    hours = cost().core_hours
    assert (hours.low, hours.high) == pytest.approx((hours.likely / 2, 2 * hours.likely))


def test_hours_are_of_gpus_where_there_are_any() -> None:
    found = cost(gpus(1))
    assert found.device == "GPU"
    assert found.device_hours == found.gpu_hours
    assert found.gpu_hours.likely > 0
    assert of_kind(found, StageKind.PRUNE).gpu_hours.likely == 0
    assert of_kind(found, StageKind.PRUNE).core_hours.likely > 0


def test_a_faster_gpu_takes_fewer_hours() -> None:
    trained = [
        of_kind(cost(gpus(1, name), calibration=LONG, **TRAINED), StageKind.RANKING).each_s
        for name in ("A100", "H100")
    ]
    assert trained[1] == pytest.approx(trained[0] * 312 / 989, rel=0.05)


def test_memory_is_the_peak_of_the_largest_rank() -> None:
    evaluated = of_kind(cost(gpus(1)), StageKind.EVALUATE)
    assert evaluated.gpu_bytes is not None
    assert BYTES < evaluated.gpu_bytes < 1.5 * BYTES
    assert of_kind(cost(), StageKind.EVALUATE).gpu_bytes is None


def test_two_cores_take_half_the_time_of_one_where_there_is_enough_to_do() -> None:
    ratios = [each / 32 for each in range(1, 17)]
    found = cost(ratios=ratios, selectors="reverse", measurement={"protocol": "none"})
    assert found.makespan_s is not None
    assert found.makespan_s.likely == pytest.approx(found.core_hours.likely * 1800, rel=0.1)


def test_a_grid_too_large_to_be_simulated_takes_little_more_than_its_work() -> None:
    ratios = [each / 32 for each in range(1, 31)]
    found = cost(ratios=ratios, selectors=["reverse", "random"], seeds=[0, 1, 2])
    assert sum(each.left for each in found.kinds) > 150
    assert found.makespan_s is not None
    least_s = found.core_hours.likely * 1800
    assert least_s < found.makespan_s.likely < 1.1 * least_s


def test_a_share_of_a_cluster_takes_as_long_as_its_devices_do() -> None:
    """A quarter of eight cores are two."""
    ratios = [each / 32 for each in range(1, 17)]
    settings = Resources(use_gpus=False, share=PartOfCluster(part=0.25))
    changes = {"ratios": ratios, "selectors": "reverse"}
    shared, two = (
        cost(machine, **changes) for machine in (machine_of(Capacity(8), settings), TWO_CORES)
    )
    assert shared.machine == "2 cores"
    assert shared.makespan_s is not None
    assert two.makespan_s is not None
    assert shared.makespan_s.likely == pytest.approx(two.makespan_s.likely, rel=0.1)


def test_nothing_is_quicker_than_the_longest_path_however_many_gpus() -> None:
    several = [cost(gpus(number), calibration=LONG, **TRAINED) for number in (8, 64)]
    times = [each.makespan_s.likely for each in several if each.makespan_s]
    ranked_s = of_kind(several[1], StageKind.RANKING).each_s
    assert min(times) > ranked_s


def test_what_does_not_fit_is_said_and_counted_on_as_many_gpus_as_it_needs() -> None:
    found = cost(gpus(1, memory_gb=24, host_gb=64), **TRAINED)
    assert found.makespan_s is None
    assert any(note.startswith("does not fit on 1 GPU (24 GB): transfer") for note in found.notes)
    assert of_kind(found, StageKind.TRANSFER).gpu_hours.likely > 0


def test_weights_of_a_gang_pass_through_the_store_and_go_again() -> None:
    """A training of 7B needs two GPUs of 80 GB, and a gang hands nothing over in memory."""
    trained = of_kind(found := cost(gpus(2), **TRAINED), StageKind.TRANSFER)
    assert close(trained.written_bytes, BYTES)
    assert trained.kept_bytes.likely < 1e5
    assert found.passing_bytes == pytest.approx(BYTES, rel=0.01)


def test_weights_of_one_process_do_not_touch_the_store() -> None:
    trained = of_kind(cost(**TRAINED), StageKind.TRANSFER)
    assert trained.written_bytes.likely < 1e5


def test_weights_that_are_to_be_kept_are() -> None:
    found = cost(storage={"keep_transfer_weights": True}, **TRAINED)
    assert close(of_kind(found, StageKind.TRANSFER).kept_bytes, BYTES)


def test_snapshots_take_room_for_two_while_a_training_goes_on() -> None:
    """Of a training that takes longer than two intervals; 12 bytes a parameter."""
    found = cost(calibration=LONG, resources={"snapshot_every_s": 60}, **TRAINED)
    assert found.passing_bytes == 2 * 12 * BYTES // 2
    assert of_kind(found, StageKind.TRANSFER).written_bytes.likely > 2 * 12 * BYTES // 2


def test_a_short_training_takes_no_snapshot() -> None:
    assert cost(resources={"snapshot_every_s": 1e6}, **TRAINED).passing_bytes == 0


def test_money_is_the_price_of_the_hours_and_rent_that_of_all_devices() -> None:
    found = cost(gpus(4), price=2.5)
    assert found.money is not None
    assert found.rent is not None
    assert found.makespan_s is not None
    assert found.money.likely == pytest.approx(2.5 * found.gpu_hours.likely)
    assert found.rent.likely == pytest.approx(4 * 2.5 * found.makespan_s.likely / 3600)


def test_a_price_may_stand_in_the_file() -> None:
    machine = gpus(1)
    settings = machine.resources.model_copy(update={"price_per_hour": 3.0})
    found = cost(type(machine)(machine.capacity, settings))
    assert found.price == 3.0
    assert cost().money is None


def test_a_price_changes_no_key() -> None:
    assert of_7b(resources={"price_per_hour": 3.0}).key == of_7b().key


def test_all_of_it_can_be_said_as_json() -> None:
    said = cost(TWO_CORES, price=1.0).as_dict()
    assert said["kept_bytes"]["likely"] == cost().kept_bytes.likely
    assert said["money"].keys() == {"low", "likely", "high"}
    assert said["kinds"][0]["kind"] == "dense"
