"""What a grid costs: of each kind of stage the number, time, memory and bytes, and all together.

Pure data and its sums; how it comes about is for ``count`` to know.
"""

from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.costs.bands import Band

_HOUR_S = 3600.0


@dataclass(frozen=True)
class KindCost:
    """What is left to do of one kind of stage.

    ``stages``: of the whole grid, at most; ``left``: of them, those not done. ``each_s``: the mean
    seconds of one. ``gpu_bytes`` and ``host_bytes``: the peak of a rank, on each of its GPUs (None
    where it has none) and on its host. ``rests_on``: what the seconds do.
    """

    kind: str
    stages: int
    left: int
    each_s: float
    gpu_hours: Band
    core_hours: Band
    gpu_bytes: int | None
    host_bytes: int
    written_bytes: Band
    kept_bytes: Band
    rests_on: str


@dataclass(frozen=True)
class GridCost:
    """What is left to do of a grid, and what it costs on a machine.

    ``makespan_s``: None where not all stages fit on the machine. ``passing_bytes``: what the store
    holds at most besides what is kept. ``price``: of one hour of a GPU, or of a core without any;
    None where nobody has given one. ``cells``: those that are counted, of ``of_cells``.
    """

    machine: str
    device: str
    kinds: tuple[KindCost, ...]
    makespan_s: Band | None
    passing_bytes: int
    cells: int
    of_cells: int
    price: float | None = None
    rented: float = 0.0  # devices, for as long as the grid takes
    notes: tuple[str, ...] = ()

    @property
    def gpu_hours(self) -> Band:
        return sum((each.gpu_hours for each in self.kinds), Band())

    @property
    def core_hours(self) -> Band:
        """The hours of CPU cores, without those of processes that have a GPU."""
        return sum((each.core_hours for each in self.kinds), Band())

    @property
    def device_hours(self) -> Band:
        return self.gpu_hours if self.device == "GPU" else self.core_hours

    @property
    def written_bytes(self) -> Band:
        return sum((each.written_bytes for each in self.kinds), Band())

    @property
    def kept_bytes(self) -> Band:
        return sum((each.kept_bytes for each in self.kinds), Band())

    @property
    def money(self) -> Band | None:
        """The price of the hours in which stages have their devices; None without a price."""
        return None if self.price is None else self.device_hours * self.price

    @property
    def rent(self) -> Band | None:
        """The price of all devices for as long as the grid takes; None where it is not known."""
        if self.price is None or self.makespan_s is None:
            return None
        return self.makespan_s * (self.rented * self.price / _HOUR_S)

    @property
    def left(self) -> int:
        """How many stages are left to do."""
        return sum(each.left for each in self.kinds)

    def as_dict(self) -> dict[str, Any]:
        """Return the cost and all its sums as values that JSON can say."""
        sums = ("gpu_hours", "core_hours", "written_bytes", "kept_bytes", "money", "rent")
        bands: dict[str, Band | None] = {name: getattr(self, name) for name in sums}
        return {**asdict(self), **{name: band and asdict(band) for name, band in bands.items()}}
