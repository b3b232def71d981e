"""The operator from token ids to pooled hidden states: exact, equal for a row in any company, and what it refuses."""

from typing import Any

import pytest
import torch
from torch import Tensor, library
from torch.nn import functional as F

from rnnfast.nn import ops, reference
from tests.test_targets import BASES

pytestmark = pytest.mark.usefixtures("nan_filled")

EVERY = ("max", "last", "mean")


def call(cell: str, rows: int, hidden: int, dtype: torch.dtype, tokens: int = 40) -> dict[str, Any]:
    """The arguments by name. Padding, after the words, is no word of the table, so whoever reads it finds out."""
    sums, words = ops.CELLS[cell] * hidden, 30
    lengths = torch.randint(1, tokens + 1, (rows,))
    ids = torch.randint(0, words, (rows, tokens), dtype=torch.int32)
    return {
        "cell": cell,
        "ids": ids.masked_fill(torch.arange(tokens) >= lengths[:, None], -7),
        "lengths": lengths,
        "table": torch.randn(words, sums, dtype=dtype),
        "w_hh": torch.randn(sums, hidden, dtype=dtype) * hidden**-0.5,
        "b_hh": torch.randn(sums, dtype=dtype),
        "pooling": EVERY,
        "word_weights": torch.randn(words, dtype=torch.promote_types(dtype, torch.float32)),
        "distinct": True,
    }


def in_float64(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same numbers."""
    return {
        name: each.double() if isinstance(each, Tensor) and each.is_floating_point() else each
        for name, each in arguments.items()
    }


def with_padding_before(arguments: dict[str, Any]) -> dict[str, Any]:
    ids, lengths = arguments["ids"], arguments["lengths"]
    places = (torch.arange(ids.shape[1]) + lengths[:, None]) % ids.shape[1]
    return {**arguments, "ids": ids.gather(1, places), "padding_before": True}


@pytest.mark.parametrize("cell", ops.CELLS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("hidden", [1, 7, 33, 63, 128, 200])
def test_equals_the_reference_to_the_last_digits_of_float64(
    cell: str, reverse: bool, hidden: int
) -> None:
    for rows in (1, 101):
        arguments = call(cell, rows, hidden, torch.float64) | {"reverse": reverse}
        expected = reference.pooled(**arguments)
        torch.testing.assert_close(ops.pooled(**arguments), expected, rtol=1e-12, atol=1e-12)
        before = with_padding_before(arguments)
        torch.testing.assert_close(reference.pooled(**before), expected, rtol=0, atol=0)
        wide = before | {"ids": before["ids"].long()}
        for other in (before, wide):
            torch.testing.assert_close(ops.pooled(**other), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", ops.CELLS)
@pytest.mark.parametrize("hidden", [7, 64, 200])
def test_error_in_float32_is_at_most_that_of_the_layer_and_torchs_pooling(
    cell: str, hidden: int
) -> None:
    """Root mean square over each result; or 1.5 units in the last place of a typical number."""
    arguments = call(cell, 40, hidden, torch.float32, tokens=300)
    given = {name: t for name, t in arguments.items() if isinstance(t, Tensor)}
    exact = reference.pooled(**in_float64(arguments))

    ids, lengths = given["ids"], given["lengths"]
    h0, sums = torch.zeros(40, hidden), len(given["w_hh"])
    output, h_n, *_ = ops.layer(
        cell,
        given["table"][ids.clamp(min=0).long()],
        h0,
        torch.eye(sums),
        given["w_hh"],
        torch.zeros(sums),
        given["b_hh"],
        c0=h0 if cell == "lstm" else None,
        lengths=lengths,
        batch_first=True,
    )
    padding = (torch.arange(ids.shape[1]) >= lengths[:, None]).unsqueeze(2)
    general = (
        output.masked_fill(padding, -torch.inf).amax(1),
        h_n,
        output.sum(1) / lengths[:, None],
    )

    def error(value: Tensor, right: Tensor) -> float:
        return (value.double() - right).square().mean().sqrt().item()

    for ours, theirs, right in zip(ops.pooled(**arguments), general, exact, strict=False):
        rounding = right.square().mean().sqrt().item() * torch.finfo(torch.float32).eps
        assert error(ours, right) <= max(error(theirs, right) * 1.05, 1.5 * rounding)


@pytest.mark.parametrize("cell", ops.CELLS)
@pytest.mark.parametrize("hidden", [1, 7, 33, 64, 200])
def test_error_in_bfloat16_is_at_most_that_of_the_layer_in_bfloat16(cell: str, hidden: int) -> None:
    """Root mean square over each result, whatever the number of rows; the layer's output is rounded, ours is not."""
    for rows, reverse in ((1, False), (40, True), (101, False)):
        arguments = call(cell, rows, hidden, torch.bfloat16) | {"reverse": reverse}
        exact = reference.pooled(**in_float64(arguments))
        table, ids = arguments["table"], arguments["ids"].clamp(min=0).long()
        here = (torch.arange(ids.shape[1]) < arguments["lengths"][:, None])[..., None]
        h0 = table.new_zeros(rows, hidden)
        output, *_ = ops.layer(
            cell,
            table[ids],
            h0,
            torch.eye(len(arguments["w_hh"]), dtype=table.dtype),
            arguments["w_hh"],
            torch.zeros_like(arguments["b_hh"]),
            arguments["b_hh"],
            c0=h0 if cell == "lstm" else None,
            lengths=arguments["lengths"],
            batch_first=True,
            reverse=reverse,
        )
        outputs = output.double()
        last = 0 if reverse else arguments["lengths"] - 1
        layers = {
            "max": outputs.masked_fill(~here, -torch.inf).amax(1),
            "last": outputs[torch.arange(rows), last],
            "mean": outputs.sum(1) / arguments["lengths"][:, None],
        }
        found = ops.pooled(**arguments)
        assert all(each.dtype == torch.float32 for each in found)
        for name, ours, right in zip(EVERY, found, exact, strict=False):
            errors = [
                (each.double() - right).square().mean().sqrt() for each in (ours, layers[name])
            ]
            assert errors[0] <= max(1.2 * errors[1], 2e-3), (rows, reverse, name)
        torch.testing.assert_close(found[-1].double(), exact[-1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell", ops.CELLS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_is_the_same_bit_for_bit_wherever_it_stands(
    cell: str, reverse: bool, dtype: torch.dtype
) -> None:
    arguments = call(cell, 500, 45, dtype, tokens=60) | {"reverse": reverse}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = ops.pooled(**arguments)
    order = torch.randperm(500)
    try:
        for count, rows in ((3, order), (1, order[:7]), (2, order[:1]), (1, order[100:231])):
            torch.set_num_threads(count)
            some = {"ids": arguments["ids"][rows], "lengths": arguments["lengths"][rows]}
            for ours, right in zip(ops.pooled(**(arguments | some)), expected, strict=True):
                assert torch.equal(ours, right[rows])
    finally:
        torch.set_num_threads(threads)


def test_only_what_is_wanted_comes_in_the_order_in_which_it_is_named() -> None:
    arguments = call("gru", 9, 5, torch.float32) | {"word_weights": None}
    every = dict(zip(EVERY, ops.pooled(**arguments), strict=True))
    for pooling in (("mean",), ("last", "max"), ()):
        results = ops.pooled(**arguments | {"pooling": pooling})
        assert all(torch.equal(r, every[n]) for r, n in zip(results, pooling, strict=True))


def test_the_weight_of_a_word_counts_for_each_time_or_once() -> None:
    arguments = call("rnn_relu", 3, 5, torch.float64, tokens=5)
    arguments["ids"] = torch.tensor([[7, 2, 7, 7, -7], [2, -7, -7, -7, -7], [0, 7, 2, 0, 7]])
    arguments["lengths"] = torch.tensor([4, 1, 5])
    arguments["word_weights"][[0, 2, 7]] = torch.tensor([1.0, 10.0, 100.0]).double()
    for distinct, sums, counts in (
        (False, [310, 10, 212], [4, 1, 5]),
        (True, [110, 10, 111], [2, 1, 3]),
    ):
        expected = torch.tensor(sums).double() / torch.tensor(counts).double().sqrt()
        for each in (arguments, with_padding_before(arguments)):
            *_, found = ops.pooled(**each | {"distinct": distinct})
            torch.testing.assert_close(found, expected)


def test_the_words_of_one_call_are_new_to_the_next() -> None:
    arguments = call("rnn_relu", 1, 5, torch.float32, tokens=50)
    *_, first = ops.pooled(**arguments)
    *_, second = ops.pooled(**arguments)
    assert torch.equal(first, second)
    more = torch.cat([arguments["word_weights"], torch.ones(5)])
    wider = {"table": F.pad(arguments["table"], (0, 0, 0, 5)), "word_weights": more}
    last = {"ids": torch.full((1, 50), 34), "lengths": torch.tensor([50])}
    *_, third = ops.pooled(**arguments | wider | last)
    assert third.tolist() == [1]


def test_no_rows() -> None:
    arguments = call("lstm", 0, 5, torch.float32)
    assert [tuple(t.shape) for t in ops.pooled(**arguments)] == [(0, 5)] * 3 + [(0,)]


def test_no_recurrent_bias_is_one_of_zeros() -> None:
    arguments = call("gru", 9, 5, torch.float32)
    zeros, none = ({"b_hh": b_hh} for b_hh in (torch.zeros(15), None))
    torch.testing.assert_close(
        ops.pooled(**arguments | none), ops.pooled(**arguments | zeros), rtol=0, atol=0
    )


def test_the_rows_of_a_table_may_stand_apart() -> None:
    arguments = call("gru", 9, 5, torch.float32)
    apart = {"table": F.pad(arguments["table"], (0, 7), value=torch.nan)[:, :-7]}
    turned = {"table": arguments["table"].T.contiguous().T}
    expected = ops.pooled(**arguments)
    for other in (apart, turned):
        torch.testing.assert_close(ops.pooled(**arguments | other), expected, rtol=0, atol=0)


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "gru", "lstm"])
@pytest.mark.parametrize("place", [0, 4, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nan_goes_through(cell: str, place: int, dtype: torch.dtype) -> None:
    arguments = call(cell, 3, 5, dtype, tokens=11)
    arguments["lengths"] = torch.tensor([11, 11, 11])
    arguments["ids"] = torch.randint(1, 30, (3, 11))
    arguments["ids"][1, place] = 0
    arguments["table"][0] = arguments["word_weights"][0] = torch.nan
    for result in ops.pooled(**arguments):
        assert result[1].isnan().all()
        assert result[[0, 2]].isfinite().all()


def test_opcheck() -> None:
    t = call("lstm", 3, 5, torch.float64)
    number = list(ops.CELLS).index("lstm")
    tensors = (t["ids"], t["lengths"], t["table"], t["w_hh"], t["b_hh"])
    for weights in (t["word_weights"], None):
        options = (weights, True, False, True, True, False, True)
        library.opcheck(torch.ops.rnnfast.pooled.default, (number, *tensors, *options))


def bad_arguments() -> dict[str, tuple[str, dict[str, Any]]]:
    learns = torch.zeros(30, 15).requires_grad_()
    return {
        "cell": ("cell must be one of rnn_tanh, .*, got: rnn_sine", {"cell": "rnn_sine"}),
        "pooling": ("pooling must be of mean, max, last, got: median", {"pooling": ("median",)}),
        "ids' rank": ("ids must have 2 dimensions, got: 1", {"ids": torch.zeros(4).int()}),
        "ids' type": ("ids must be int32 or int64, got: Float", {"ids": torch.zeros(4, 40)}),
        "id too large": ("ids must be between 0 and 29, .*, got: 30", {"ids": {(2, 0): 30}}),
        "id below zero": ("ids must be between 0 and 29, .*, got: -1", {"ids": {(1, 0): -1}}),
        "number of lengths": (
            "lengths must have one entry for each of the 4 rows of ids, got: 3",
            {"lengths": torch.tensor([1, 1, 1])},
        ),
        "no length": (
            r"lengths must be between 1 and the columns of ids \(40\), got: 0",
            {"lengths": torch.tensor([1, 0, 1, 1])},
        ),
        "length too large": (
            r"between 1 and the columns of ids \(40\), got: 41",
            {"lengths": torch.tensor([1, 1, 41, 1])},
        ),
        "lengths' type": ("lengths must be .* int64", {"lengths": torch.ones(4).int()}),
        "w_hh's rank": ("w_hh must have 2 dimensions, got: 1", {"w_hh": torch.zeros(15)}),
        "w_hh": (r"w_hh must have the shape \(12, 4\)", {"w_hh": torch.zeros(15, 4)}),
        "b_hh": (r"b_hh must have the shape \(15\), got: \(5\)", {"b_hh": torch.zeros(5)}),
        "b_hh's type": ("b_hh must have the dtype of table", {"b_hh": torch.zeros(15).double()}),
        "table's rank": ("table must have 2 dimensions, got: 3", {"table": torch.zeros(3, 2, 15)}),
        "table": (
            r"as many columns as w_hh has rows \(15\), got: 14",
            {"table": torch.zeros(30, 14)},
        ),
        "table's type": (
            "float32 or float64, and .* bfloat16",
            {"table": torch.zeros(30, 15).half()},
        ),
        "word_weights": (
            r"word_weights must have the shape \(30\), got: \(29\)",
            {"word_weights": torch.zeros(29)},
        ),
        "word_weights' type": (
            "word_weights must have the dtype of the results, Float, got: Double",
            {"word_weights": torch.zeros(30).double()},
        ),
        "gradient": ("table must not require a gradient", {"table": learns}),
        "gradient of words": (
            "word_weights must not require a gradient",
            {"word_weights": torch.zeros(30).requires_grad_()},
        ),
    }


@pytest.mark.parametrize("case", bad_arguments())
def test_bad_arguments_are_named(case: str) -> None:
    message, changes = bad_arguments()[case]
    arguments = call("gru", 4, 5, torch.float32)
    if isinstance(changes.get("ids"), dict):
        for place, value in changes["ids"].items():
            arguments["ids"][place] = value
        changes = {}
    with pytest.raises(RuntimeError, match=message):
        ops.pooled(**(arguments | changes))


def test_where_a_gradient_cannot_be_asked_for_weights_may_have_one() -> None:
    arguments = call("gru", 4, 5, torch.float32)
    expected = ops.pooled(**arguments)
    arguments["w_hh"].requires_grad_()
    with torch.no_grad():
        torch.testing.assert_close(ops.pooled(**arguments), expected, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match=r"must stay outside of torch\.func"):
        torch.func.grad(lambda table: ops.pooled(**arguments | {"table": table})[0].sum())(
            arguments["table"]
        )


def test_the_target_that_ran_is_the_one_that_was_chosen() -> None:
    ops.pooled(**call("rnn_tanh", 4, 5, torch.float32))
    assert ops.cpu_target_ran() == BASES.get(ops.cpu_target(), ops.cpu_target())
