"""Time zones by the names that files give them."""

from zoneinfo import ZoneInfo

import pytest

from core.formats.zones import CalendarZones, windows_zone_of, zone_of


@pytest.mark.parametrize("name", ["", "Nowhere/Land", "../etc/passwd", "a\0b", "x" * 5000, "W. Europe Standard Time"])
def test_a_name_that_iana_does_not_have_is_no_zone(name: str) -> None:
    assert zone_of(name) is None


def test_windows_names_are_known() -> None:
    assert windows_zone_of("W. Europe Standard Time") == ZoneInfo("Europe/Berlin")
    assert windows_zone_of("Europe/Paris") == ZoneInfo("Europe/Paris")


def test_a_calendar_may_put_a_vendor_in_front() -> None:
    assert CalendarZones().find("/freeassociation.sourceforge.net/Europe/Berlin") == ZoneInfo("Europe/Berlin")
    assert CalendarZones().find("/" + "x/" * 500 + "Europe/Berlin") is None


def test_a_known_name_is_not_defined_anew() -> None:
    zones = CalendarZones()
    zones.define([b"TZID:Europe/Berlin", b"BEGIN:STANDARD", b"END:STANDARD"], 100)
    assert zones.find("Europe/Berlin") == ZoneInfo("Europe/Berlin")
    assert zones.find("Elsewhere") is None
