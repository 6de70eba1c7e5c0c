"""What people wish of a grid's drivers: each obeys it once, and says so."""

from orchestrator.coordination import wishes as wishes_module
from orchestrator.coordination.wishes import LOOK_EVERY_S, NewWishes, Wish, Wishes, WishKind
from tests.orchestrator.coordination.memory_files import MemoryFiles

GRID = "grid-1"
WISH = Wish(WishKind.CANCEL, "ada@node-1", ("cell-1",))


class Watch:
    def __init__(self, owner: str, files: MemoryFiles) -> None:
        self.now = 0.0
        self.new = NewWishes(Wishes(files), GRID, owner, lambda: self.now)
        self.new.begin()

    def later(self) -> tuple[Wish, ...]:
        self.now += LOOK_EVERY_S
        return self.new.look()


def test_a_wish_is_seen_once_by_each_driver() -> None:
    files = MemoryFiles()
    one, two = Watch("one", files), Watch("two", files)
    Wishes(files).make(GRID, WISH)
    assert (one.later(), two.later()) == ((WISH,), (WISH,))
    assert (one.later(), two.later()) == ((), ())


def test_who_takes_a_wish_up_says_so() -> None:
    files = MemoryFiles()
    driver = Watch("me", files)
    name = Wishes(files).make(GRID, WISH)
    assert Wishes(files).taken_up_by(GRID, name) == ()
    driver.later()
    assert Wishes(files).taken_up_by(GRID, name) == ("me",)


def test_a_wish_of_before_a_driver_is_not_for_it() -> None:
    files = MemoryFiles()
    Wishes(files).make(GRID, WISH)
    assert Watch("me", files).later() == ()


def test_a_wish_about_another_grid_is_not_for_it() -> None:
    files = MemoryFiles()
    driver = Watch("me", files)
    Wishes(files).make("grid-2", WISH)
    assert driver.later() == ()


def test_the_store_is_asked_now_and_then_only() -> None:
    files = MemoryFiles()
    driver = Watch("me", files)
    Wishes(files).make(GRID, WISH)
    driver.now = LOOK_EVERY_S - 0.1
    assert driver.new.look() == ()


class Forgetful(MemoryFiles):
    """A store that gives no answer to the second wish that is taken up, once."""

    left = 1

    def create(self, path: str, data: bytes) -> bool:
        if ".by-" in path:
            self.left -= 1
            if self.left == -1:
                raise OSError("no answer")
        return super().create(path, data)


def test_a_store_that_is_away_loses_no_wish() -> None:
    files = Forgetful()
    driver = Watch("me", files)
    other = Wish(WishKind.RETRY, "ada@node-1")
    for wish in (WISH, other):
        Wishes(files).make(GRID, wish)
    assert (driver.later(), driver.later(), driver.later()) == ((WISH,), (other,), ())


def test_what_is_no_wish_is_passed_over() -> None:
    files = MemoryFiles()
    driver = Watch("me", files)
    files.write(f"wishes/{GRID}/1-a.json", b"{}")
    Wishes(files).make(GRID, WISH)
    assert driver.later() == (WISH,)


def test_wishes_of_long_ago_are_removed() -> None:
    files = MemoryFiles()
    files.write(f"wishes/{GRID}/1-a.json", b"{}")
    files.write(f"wishes/{GRID}/1-a.by-me", b"")
    new = Wishes(files).make(GRID, WISH)
    Watch("me", files)
    assert files.names(f"wishes/{GRID}") == [f"{new}.json"]
    assert wishes_module.KEPT_S >= 3600
