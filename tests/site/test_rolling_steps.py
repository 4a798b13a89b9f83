"""One step of a rolling restart after the other, with processes that do what a test says."""

from typing import Any

from oneapi_site.supervisor import Supervisor


class Process:
    """Notes the signals that it gets."""

    def __init__(self) -> None:
        self.signals: list[int] = []
        self.code: int | None = None

    def send_signal(self, number: int) -> None:
        self.signals.append(number)

    def poll(self) -> int | None:
        return self.code


class Kid:
    """A child without a real process."""

    name = "web"
    tells = True
    ready = -1
    replaced = False

    def __init__(self) -> None:
        self.process: Process | None = Process()
        self.ended: int | None = None
        self.made: list[Kid] = []
        self.serving = False

    def start(self) -> None:
        self.process = Process()

    def serves(self) -> bool:
        return self.serving

    def died(self) -> int | None:
        return self.ended

    def forget_pipe(self) -> None:
        """It has none."""

    def successor(self) -> "Kid":
        self.made.append(Kid())
        return self.made[-1]


def supervisor(*children: Kid) -> Any:
    """On PostgreSQL, asked to replace all of them; without the signal handlers of a real one."""
    made: Any = Supervisor.__new__(Supervisor)
    made.children, made.to_replace = list(children), list(children)
    made.patience, made.overlap, made.next, made.leaving = 1.0, True, None, []
    return made


def test_a_child_that_dies_while_its_successor_starts_is_replaced_by_it() -> None:
    old, other = Kid(), Kid()
    one = supervisor(old, other)
    one.replace()
    (new,) = old.made
    old.process = None  # it died by itself

    one.replace()
    assert (one.next, one.to_replace) == (new, [old, other])
    new.serving = True
    one.replace()

    assert one.children == [new, other]
    assert (one.next, one.to_replace, one.leaving) == (None, [other], [])


def test_a_child_that_is_down_anyway_needs_no_successor() -> None:
    old = Kid()
    old.process = None
    one = supervisor(old)
    one.replace()
    assert (old.made, one.children, one.to_replace) == ([], [old], [])
