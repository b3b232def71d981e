"""A few calls of each driver of `make fuzz`, of seeds that stay."""

import fuzz_layers
import fuzz_rows


def test_changed_files_are_read_or_refused() -> None:
    figures = fuzz_rows.run(60, 1, most=70)
    assert figures["files"] == 70
    assert figures["rows"] > 0
    assert figures["rejected rows"] > 0
    assert 0 < figures["refused files"] < 70


def test_random_calls_of_the_operator_equal_the_reference() -> None:
    figures = fuzz_layers.run(60, 5, most=40)
    assert figures["calls"] == 40
    assert figures.keys() == {"calls", *fuzz_layers.GATES}
