"""A line for each node that is sent something, on a terminal."""

import io

import pytest

from mcpctl.ui import meter
from mcpctl.ui.meter import Meters

MIB = 2**20


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything takes longer than a moment."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(meter, "_MOMENT_S", 0.0)


@pytest.mark.usefixtures("at_once")
def test_every_node_has_its_line_with_bytes_of_all() -> None:
    screen = Terminal()
    with Meters(screen) as meters:
        meters.now("rift", 3 * MIB, 12 * MIB)
        meters.now("orion", 6 * MIB, 24 * MIB)
        assert meters._bars
        meters._bars.refresh()
        shown = screen.getvalue()
    assert "rift" in shown
    assert "orion" in shown
    assert "3.0/12.0 MiB" in shown
    assert "6.0/24.0 MiB" in shown


@pytest.mark.usefixtures("at_once")
def test_the_speed_has_the_units_of_the_sizes() -> None:
    screen, seconds = Terminal(), iter(range(100))
    with Meters(screen) as meters:
        meters.now("rift", 0, 12 * MIB)
        assert meters._bars
        meters._bars.get_time = lambda: float(next(seconds))
        meters.now("rift", 3 * MIB, 12 * MIB)
        meters.now("rift", 6 * MIB, 12 * MIB)
        meters._bars.refresh()
        shown = screen.getvalue()
    assert " MiB/s" in shown
    assert "MB/s" not in shown


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("screen", "is_quiet"), [(io.StringIO(), False), (Terminal(), True)])
def test_where_nobody_looks_nothing_is_drawn(screen: io.StringIO, is_quiet: bool) -> None:
    with Meters(screen, is_quiet=is_quiet) as meters:
        meters.now("rift", 3 * MIB, 12 * MIB)
    assert screen.getvalue() == ""


def test_what_takes_a_moment_is_not_drawn() -> None:
    screen = Terminal()
    with Meters(screen) as meters:
        meters.now("rift", MIB, MIB)
    assert screen.getvalue() == ""
