"""How often the tests of `make faults` disturb what they disturb: COUNTS="scoring=5 serve=1" says other numbers."""

import os

KILLS = {"scoring": 100, "training": 30, "promotion": 30, "download": 20, "serve": 20}


def kills(what: str) -> int:
    """How often a job of a kind is killed.

    Raises:
        KeyError: there is no such kind.
        ValueError: `RNNFAST_FAULTS` is no list of a kind and its number.
    """
    asked = {}
    for each in os.environ.get("RNNFAST_FAULTS", "").split():
        kind, _, number = each.partition("=")
        KILLS[kind]
        asked[kind] = int(number)
    return asked.get(what, KILLS[what])
