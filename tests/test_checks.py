import pytest
from pydantic import ValidationError

from rnnfast.evaluation.checks import Limits, as_json, check, worst


@pytest.mark.parametrize(
    ("rule", "value", "status"),
    [
        ("psi", 0.1, "passed"),
        ("psi", 0.11, "warning"),
        ("psi", 0.26, "failed"),
        ("label_share", 0.05, "passed"),
        ("label_share", 0.04, "warning"),
        ("label_share", 0.001, "failed"),
        ("cut", 1.0, "warning"),  # never fails
    ],
)
def test_a_value_is_held_against_both_limits(rule: str, value: float, status: str) -> None:
    assert check(Limits(), rule, "x", value).status == status


def test_what_few_rows_say_warns_at_most() -> None:
    found = check(Limits(), "psi", "x", 0.26, can_fail=False)
    assert (found.status, found.fail) == ("warning", None)
    found = check(Limits(psi=(None, 0.2)), "psi", "x", 0.26, can_fail=False)
    assert found.status == "warning"
    assert check(Limits(), "psi", "x", 0.1, can_fail=False).status == "passed"


def test_a_check_tells_the_rule_the_value_and_the_limits() -> None:
    told = str(check(Limits(), "psi", "words", 0.3))
    assert told.startswith(
        "psi of words is 0.3 (at most: warning 0.1, limit 0.25): what the model reads"
    )
    told = str(check(Limits(label_share=(None, None)), "label_share", "rows", 0.3))
    assert told == "label_share of rows is 0.3 (at least: anything)"


@pytest.mark.parametrize(
    ("given", "bounds"),
    [("0.2, 0.3", (0.2, 0.3)), ("0.2", (0.2, None)), ("off", (None, None)), ("off,1", (None, 1))],
)
def test_limits_are_read_from_text(given: str, bounds: tuple[float | None, float | None]) -> None:
    assert Limits(psi=given).psi == bounds


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"psi": "0.3,0.2"}, "psi must fail above where it warns, got: 0.3,0.2"),
        ({"label_share": "0.1,0.2"}, "label_share must fail below where it warns"),
        ({"psi": "much"}, "valid number"),
        ({"psi": "1,2,3"}, "psi"),
        ({"unheard": "1"}, "unheard"),
    ],
)
def test_limits_that_make_no_sense_are_errors(limits: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Limits(**limits)


def test_the_worst_check_counts() -> None:
    checks = [check(Limits(), "psi", "x", value) for value in (0.0, 0.2, 0.3)]
    assert worst(checks) == "failed"
    assert worst(checks[:2]) == "warning"
    assert worst(checks[:1]) == worst([]) == "passed"
    assert as_json(checks)[1] == {
        "rule": "psi", "of": "x", "value": 0.2, "warn": 0.1, "fail": 0.25, "status": "warning"
    }  # fmt: skip
