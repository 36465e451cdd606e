"""Time zones by their IANA names, such as Europe/Bucharest."""

from __future__ import annotations

import difflib
import functools
import zoneinfo
from collections.abc import Sequence

from django.utils.translation import gettext as _

from postroom.workspaces.refusals import RequestRefused

_NO_PLACES = {"Factory", "localtime"}  # names of the database that are no zones to live in


@functools.cache
def zone_names() -> Sequence[str]:
    """Every zone that this machine knows, in the order of the alphabet."""
    return sorted(zoneinfo.available_timezones() - _NO_PLACES)


def known_zone(name: str) -> str:
    """The zone that is meant, spelled as in the IANA database; capitals and spaces do not matter.

    Raises RequestRefused, naming the zones that are written nearly so, if there is none.
    """
    wanted = "_".join(name.split()).casefold()
    spelled = {known.casefold(): known for known in zone_names()}
    if wanted in spelled:
        return spelled[wanted]
    near = [spelled[found] for found in _near(wanted, spelled)]
    words = _("There is no time zone %(zone)s. Write one like %(near)s.")
    raise RequestRefused(words % {"zone": name[:60], "near": ", ".join(near or ["Europe/Bucharest", "UTC"])})


def _near(wanted: str, spelled: dict[str, str]) -> list[str]:
    """Those written nearly so; a city alone counts as the zone that ends with it, and matters most."""
    city = wanted.rpartition("/")[2]
    cities = {zone.rpartition("/")[2]: zone for zone in spelled}
    found = [zone for zone in spelled if city and city in zone.rpartition("/")[2]]
    found += [cities[near] for near in difflib.get_close_matches(city, cities, 3)]
    return list(dict.fromkeys(found + difflib.get_close_matches(wanted, spelled, 3)))[:3]
