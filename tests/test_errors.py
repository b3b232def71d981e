"""Bad calls: the types of exception that torch.nn raises, and clear words where torch computes something or crashes."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn, tensor, zeros
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import rnnfast
from rnnfast.nn import ops

KINDS = ["RNN", "GRU", "LSTM"]


def calls(package: Any, kind: str) -> dict[str, Callable[[], Any]]:
    """Bad calls of a layer of torch.nn or of rnnfast, all of which torch refuses as well."""
    made = getattr(package, kind)
    layer = made(3, 4, 2)
    x = torch.randn(5, 2, 3)
    rows = x.reshape(10, 3)

    def state(h: Tensor) -> Any:
        return (h, zeros(2, 2, 4)) if kind == "LSTM" else h

    def cell(c: Tensor) -> Any:
        return (zeros(2, 2, 4), c) if kind == "LSTM" else c

    def with_weight(weight: Tensor) -> Any:
        return functional_call(layer, {"weight_hh_l1": weight}, (x,))

    def ragged(lengths: Any) -> Any:
        if package is rnnfast:
            return layer(x, lengths=lengths)
        return layer(pack_padded_sequence(x, lengths, enforce_sorted=False))

    def packed(sizes: Tensor, data: Tensor = rows, hx: Any = None) -> Any:
        return layer(PackedSequence(data, sizes), hx)

    meta = {"device": "meta"}
    return {
        "no dimensions": lambda: layer(zeros(())),
        "one dimension": lambda: layer(x[0, 0]),
        "four dimensions": lambda: layer(x[None]),
        "features": lambda: layer(x[..., :2]),
        "features of one row": lambda: layer(x[:, 0, :2]),
        "no steps": lambda: layer(x[:0]),
        "no steps of one row": lambda: layer(x[:0, 0]),
        "no steps, batch first": lambda: made(3, 4, batch_first=True)(zeros(2, 0, 3)),
        "no steps and no rows": lambda: layer(x[:0, :0]),
        "float64": lambda: layer(x.double()),
        "float16": lambda: layer(x.half()),
        "integers": lambda: layer(x.long()),
        "booleans": lambda: layer(x.bool()),
        "complex": lambda: layer(x.to(torch.complex64)),
        "list": lambda: layer([[1.0]]),
        "array": lambda: layer(x.numpy()),
        "None": lambda: layer(None),
        "nothing": lambda: layer(),
        "state of float64": lambda: layer(x, state(zeros(2, 2, 4).double())),
        "state of integers": lambda: layer(x, state(zeros(2, 2, 4).long())),
        "state of bfloat16": lambda: layer(x, state(zeros(2, 2, 4).bfloat16())),
        "state's rows": lambda: layer(x, state(zeros(2, 3, 4))),
        "state's layers": lambda: layer(x, state(zeros(1, 2, 4))),
        "state's width": lambda: layer(x, state(zeros(2, 2, 5))),
        "state's rank": lambda: layer(x, state(zeros(2, 4))),
        "state's rank 4": lambda: layer(x, state(zeros(2, 2, 4, 1))),
        "state for one row": lambda: layer(x[:, 0], state(zeros(2, 2, 4))),
        "state of numbers": lambda: layer(x, [1, 2]),
        "three states": lambda: layer(x, (zeros(2, 2, 4),) * 3),
        "cell state of float64": lambda: layer(x, cell(zeros(2, 2, 4).double())),
        "cell state's rows": lambda: layer(x, cell(zeros(2, 3, 4))),
        "cell state's width": lambda: layer(x, cell(zeros(2, 2, 5))),
        "cell state's rank": lambda: layer(x, cell(zeros(2, 4))),
        "input elsewhere": lambda: layer(x.to("meta")),
        "state elsewhere": lambda: layer(x, state(zeros(2, 2, 4, **meta))),
        "cell state elsewhere": lambda: layer(x, cell(zeros(2, 2, 4, **meta))),
        "weights elsewhere": lambda: made(3, 4, device="meta")(x),
        "one weight elsewhere": lambda: with_weight(zeros(layer.weight_hh_l1.shape, **meta)),
        "one weight of float64": lambda: with_weight(layer.weight_hh_l1.double()),
        "length 0": lambda: ragged(tensor([5, 0])),
        "length -1": lambda: ragged(tensor([5, -1])),
        "length 6": lambda: ragged(tensor([6, 2])),
        "length 2**62": lambda: ragged(tensor([5, 2**62])),
        "length nan": lambda: ragged(tensor([5.0, float("nan")])),
        "a length too many": lambda: ragged(tensor([5, 2, 1])),
        "no lengths": lambda: ragged(zeros(0, dtype=torch.long)),
        "length without dimensions": lambda: ragged(tensor(5)),
        "lengths as text": lambda: ragged("52"),
        "batch sizes that rise": lambda: packed(tensor([2, 3, 2, 2, 1])),
        "batch sizes below 0": lambda: packed(tensor([6, 5, -1])),
        "too many batch sizes": lambda: packed(tensor([2] * 6)),
        "no batch sizes": lambda: packed(zeros(0, dtype=torch.long)),
        "batch sizes of floats": lambda: packed(tensor([5.0, 5.0])),
        "batch sizes of int32": lambda: packed(tensor([5, 5], dtype=torch.int32)),
        "batch sizes of two dimensions": lambda: packed(tensor([[5, 5]])),
        "packed of three dimensions": lambda: packed(tensor([5]), x),
        "input size 0": lambda: made(0, 4),
        "hidden size 0": lambda: made(3, 0),
        "hidden size of text": lambda: made(3, "4"),
        "no layers": lambda: made(3, 4, 0),
        "dropout 2": lambda: made(3, 4, 2, dropout=2),
        "layers True": lambda: made(3, 4, True)(x),
        "bidirectional 2": lambda: made(3, 4, bidirectional=2)(x),
        "bidirectional 0": lambda: made(3, 4, bidirectional=0)(x),
        "bias 1": lambda: made(3, 4, bias=1),
        "batch first 1": lambda: made(3, 4, batch_first=1),
        "one tensor of rank 4 as state": lambda: layer(x, zeros(2, 2, 2, 4)),
        "an argument that there is not": lambda: made(3, 4, widths=2),
        "a mode": lambda: made(3, 4, mode="GRU"),
    } | (
        {}
        if kind == "LSTM"
        else {  # torch's LSTM does not check these, and may crash
            "packed of float64": lambda: packed(tensor([5, 5]), rows.double()),
            "packed with another state": lambda: packed(tensor([5, 5]), hx=zeros(2, 2, 4)),
            "projection": lambda: made(3, 4, proj_size=2),
            "projection 0": lambda: made(3, 4, proj_size=0),
        }
    )


def raised(call: Callable[[], Any]) -> BaseException:
    try:
        call()
    except Exception as error:
        return error
    pytest.fail("no exception")


@pytest.mark.parametrize(("kind", "case"), [(k, case) for k in KINDS for case in calls(nn, k)])
def test_the_exception_is_of_the_type_that_torch_raises(kind: str, case: str) -> None:
    theirs = raised(calls(nn, kind)[case])
    ours = raised(calls(rnnfast, kind)[case])
    assert type(ours) is type(theirs), f"torch: {theirs!r}, rnnfast: {ours!r}"
    assert str(ours)


def refused() -> dict[str, tuple[str, Callable[[], Any]]]:
    """What torch computes without a word, some of it from memory that is not its own, or refuses in other words."""
    layer, lstm, x = rnnfast.RNN(3, 4), rnnfast.LSTM(3, 4), torch.randn(5, 2, 3)
    rows = x.reshape(10, 3)
    few = (zeros(1, 2, 4), zeros(1, 2, 4))
    wide = {"weight_hh_l0": zeros(5, 4)}
    return {
        "a length too few": ("one entry for each of the 2", lambda: layer(x, None, tensor([5]))),
        "floats": ("int64 .* got: 1 dim.* Float", lambda: layer(x, None, tensor([5.0, 2.0]))),
        "int32": ("int64 .* Int", lambda: layer(x, None, tensor([5, 2], dtype=torch.int32))),
        "two dimensions": ("got: 2 dimensions", lambda: layer(x, None, tensor([[5, 2]]))),
        "elsewhere": ("on the CPU, got: meta", lambda: layer(x, None, tensor([5, 2]).to("meta"))),
        "few rows": ("add up .* got: 9", lambda: layer(PackedSequence(rows, tensor([5, 4])))),
        "no rows": ("at least 1", lambda: layer(PackedSequence(rows, tensor([5, 5, 0])))),
        "many rows": ("add up", lambda: layer(PackedSequence(rows, tensor([2**61])))),
        "features": (
            "3 features, got: 5",
            lambda: lstm(PackedSequence(x.reshape(6, 5), tensor([6]))),
        ),
        "another state": (
            r"size \(1, 5, 4\), got \[1, 2, 4\]",
            lambda: lstm(PackedSequence(rows, tensor([5, 5])), few),
        ),
        "weight": ("4 rows for each", lambda: functional_call(lstm, wide, (x,))),
        "one state": ("must be a pair .* got: 1", lambda: lstm(x, (zeros(1, 2, 4),))),
        "sparse": ("SparseCPU", lambda: layer(x.to_sparse())),
    }


@pytest.mark.parametrize("case", refused())
def test_what_torch_lets_pass_or_crashes_on_is_refused(case: str) -> None:
    message, call = refused()[case]
    with pytest.raises(RuntimeError, match=message):
        call()


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_are_no_error_as_in_torch(kind: str) -> None:
    theirs, ours = (getattr(p, kind)(3, 4, 2, bidirectional=True) for p in (nn, rnnfast))
    for layer in (theirs, ours):
        output, state = layer(torch.randn(5, 0, 3))
        assert output.shape == (5, 0, 8)
        assert all(each.shape == (4, 0, 4) for each in (state if kind == "LSTM" else (state,)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_finite_stays_in_its_row_from_its_step_on(kind: str, value: float) -> None:
    theirs, ours = (getattr(p, kind)(3, 20) for p in (nn, rnnfast))
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(6, 17, 3)
    x[2, 5, 1] = value
    expected, output = theirs(x)[0], ours(x)[0]
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert output[:, torch.arange(17) != 5].isfinite().all()
    assert output[:2].isfinite().all()
    assert output[2:, 5].isnan().any() == (value != value)


@pytest.mark.parametrize("kind", KINDS)
def test_the_operators_take_nonsense_without_a_crash(kind: str) -> None:
    """Random arguments, most of them wrong in one or two places: an error or a result of the right shape."""
    number = list(ops.CELLS).index({"RNN": "rnn_tanh"}.get(kind, kind.lower()))
    gates, kept = (1, 3, 4)[KINDS.index(kind)], (0, 4, 5)[KINDS.index(kind)]
    dice = random.Random(1)

    def spoiled(t: Any) -> Any:
        if not isinstance(t, Tensor) or not t.dim():
            return None
        return dice.choice(
            [
                lambda: None,
                lambda: t.to("meta"),
                lambda: t.double(),
                lambda: t.long(),
                lambda: t[..., :0],
                lambda: t[:0],
                lambda: t[None],
                lambda: t.sum(),
                lambda: t.flatten(),
                lambda: t.transpose(0, -1),
                lambda: torch.cat([t, t]),
                lambda: t[:1].expand_as(t),
                lambda: t + 2 ** dice.choice([0, 2, 61]),
            ]
        )()

    outcomes = {"right": 0, "refused": 0}
    for _ in range(400):
        steps, batch, inputs, hidden = (dice.choice([0, 1, 2, 5, 17]) for _ in range(4))
        width = dice.choice([hidden, 3]) if kind == "LSTM" else hidden
        packed, first = dice.random() < 0.2, dice.random() < 0.3
        shape = (batch, steps) if first else (steps, batch)
        arguments = [
            torch.randn(*shape, inputs),
            torch.randn(batch, width),
            torch.randn(batch, hidden) if kind == "LSTM" else None,
            torch.randn(gates * hidden, inputs),
            torch.randn(gates * hidden, width),
            torch.randn(gates * hidden),
            torch.randn(gates * hidden),
            torch.randn(width, hidden) if width != hidden else None,
            dice.choice([None, torch.randint(0, steps + 2, (batch,))]),
            None,
        ]
        if packed:
            arguments[0] = torch.randn(steps * batch, inputs)
            arguments[8:] = None, torch.full((steps,), batch)
            shape = (steps * batch,)
        given = [torch.randn(*shape, width), *arguments[1:3]]
        made = [torch.randn(*shape, width), torch.randn(*shape, kept * hidden)]
        for _ in range(dice.choice([0, 1, 2])):
            place = dice.randrange(len(arguments))
            arguments[place] = spoiled(arguments[place])
        flags = (first, dice.random() < 0.5, True)
        try:
            output = torch.ops.rnnfast.layer(number, *arguments, *flags)[0]
        except Exception:
            outcomes["refused"] += 1
        else:
            assert output.shape == (*arguments[0].shape[:-1], arguments[1].shape[1])
            outcomes["right"] += 1
        back = [*given, *arguments[:8], *made, *arguments[8:]]
        place = dice.randrange(len(back))
        back[place] = spoiled(back[place])
        try:
            gradient = torch.ops.rnnfast.layer_backward(number, *back, *flags)[3]
        except Exception:
            outcomes["refused"] += 1
        else:
            assert gradient.shape == back[6].shape
            outcomes["right"] += 1
    assert min(outcomes.values()) > 100, outcomes


def test_a_message_of_the_operators_is_the_sentence_alone() -> None:
    x, lengths = torch.randn(5, 2, 3), tensor([5])
    layer = rnnfast.RNN(3, 4)
    messages = {
        "rnnfast: lengths must have one entry for each of the 2 batch rows, got: 1": lambda: layer(
            x, lengths=lengths
        ),
        "rnnfast: h0 must have the dtype of input, Float, got: Double": lambda: layer(
            x, zeros(1, 2, 4).double()
        ),
        "rnnfast: ids must have 2 dimensions, got: 1": lambda: ops.pooled(
            "gru", lengths, lengths, zeros(5, 12), zeros(12, 4), pooling=("mean",)
        ),
        "rnnfast: cell must be the number of a cell, got: 9": lambda: torch.ops.rnnfast.layer(
            9, x, x, None, x, x, None, None, None, None, None, False, False, 0
        ),
    }
    for message, call in messages.items():
        error = raised(call)
        assert type(error) is RuntimeError
        assert str(error) == message
