"""The layers of rnnfast beside those of torch.nn: every argument, odd sizes, outputs and every gradient."""

import copy
import itertools
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import rnnfast

pytestmark = pytest.mark.usefixtures("nan_filled")

KINDS = ["tanh", "relu", "gru", "lstm", "lstm with projection"]


def pair(kind: str, inputs: int, hidden: int, *args: Any, **options: Any) -> list[nn.RNNBase]:
    """Torch's layer and ours of one kind, with the same parameters."""
    name = kind.split()[0].upper() if kind in KINDS[2:] else "RNN"
    if name == "RNN":
        options["nonlinearity"] = kind
    if kind == "lstm with projection":
        options["proj_size"] = max(1, hidden // 2)
    theirs, ours = (getattr(p, name)(inputs, hidden, *args, **options) for p in (nn, rnnfast))
    ours.load_state_dict(theirs.state_dict())
    return [theirs, ours]


def random_state(layer: nn.RNNBase, *batch: int) -> Any:
    """A state with gradients, as the layer takes it."""
    places = layer.num_layers * (2 if layer.bidirectional else 1)
    dtype = layer.weight_ih_l0.dtype
    widths = [layer.proj_size or layer.hidden_size]
    widths += [layer.hidden_size] if layer.mode == "LSTM" else []
    state = [torch.randn(places, *batch, w, dtype=dtype, requires_grad=True) for w in widths]
    return tuple(state) if len(state) == 2 else state[0]


def flat(*results: Any) -> list[Tensor]:
    """The tensors of an output and a state, which may be a pair or None."""
    tensors: list[Tensor] = []
    for each in results:
        if isinstance(each, PackedSequence):
            tensors.append(each.data)
        elif each is not None:
            tensors += each if isinstance(each, tuple) else [each]
    return tensors


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def gradients(layer: nn.Module, outputs: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Gradients of a random scalar of all outputs, for all inputs and parameters."""
    generator = torch.Generator().manual_seed(5)
    seeds = [
        torch.randn(output.shape, generator=generator, dtype=output.dtype) for output in outputs
    ]
    wanted = (*inputs, *layer.parameters())
    return list(torch.autograd.grad(outputs, wanted, seeds))


def assert_all_close(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for mine, expected in zip(ours, theirs, strict=True):
        tolerance = 1e-10 if expected.dtype == torch.float64 else 2e-5
        scale = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
        torch.testing.assert_close(mine, expected, rtol=tolerance, atol=tolerance * scale)


def assert_same(
    ours: nn.RNNBase,
    theirs: nn.RNNBase,
    run: Callable[[nn.RNNBase], list[Tensor]],
    wanted: list[Tensor],
) -> None:
    """Both give the same results and the same gradients, for `wanted` and for the parameters."""
    mine, expected = run(ours), run(theirs)
    assert [t.shape for t in mine] == [t.shape for t in expected]
    assert_all_close(mine, expected)
    assert_all_close(gradients(ours, mine, wanted), gradients(theirs, expected, wanted))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("num_layers", "bidirectional"), [(1, False), (1, True), (3, False), (2, True)]
)
@pytest.mark.parametrize(
    ("bias", "batch_first", "with_hx"), [*itertools.product([True, False], repeat=3)]
)
def test_matches_torch_for_every_argument(
    dtype: torch.dtype,
    kind: str,
    num_layers: int,
    bidirectional: bool,
    bias: bool,
    batch_first: bool,
    with_hx: bool,
) -> None:
    steps, batch, inputs, hidden = 7, 5, 13, 19
    theirs, ours = pair(
        kind,
        inputs,
        hidden,
        num_layers,
        bias=bias,
        batch_first=batch_first,
        bidirectional=bidirectional,
        dtype=dtype,
    )
    shape = (batch, steps, inputs) if batch_first else (steps, batch, inputs)
    x = torch.randn(shape, dtype=dtype, requires_grad=True)
    hx = random_state(ours, batch) if with_hx else None
    assert_same(ours, theirs, lambda layer: flat(*layer(x, hx)), flat(x, hx))


SIZES = [
    # T, N, I, H: ones, primes, one less and one more than a vector, a panel, a tile and a group of rows
    (1, 1, 1, 1),
    (2, 1, 3, 2),
    (3, 2, 1, 63),
    (5, 6, 7, 64),
    (4, 7, 65, 65),
    (9, 13, 31, 33),
    (3, 97, 16, 15),
    (2, 200, 5, 17),
    (31, 3, 129, 127),
]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_odd_sizes(size: tuple[int, int, int, int], kind: str, count: int) -> None:
    steps, batch, inputs, hidden = size
    if kind == "lstm with projection" and hidden == 1:
        pytest.skip("a projection is narrower than the cell state")
    with threads(count):
        theirs, ours = pair(kind, inputs, hidden, bidirectional=True)
        x = torch.randn(steps, batch, inputs, requires_grad=True)
        assert_same(ours, theirs, lambda layer: flat(*layer(x)), [x])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("with_hx", [False, True])
def test_one_row_without_a_batch_dimension(kind: str, batch_first: bool, with_hx: bool) -> None:
    theirs, ours = pair(kind, 4, 6, 2, bidirectional=True, batch_first=batch_first)
    x = torch.randn(9, 4, requires_grad=True)
    hx = random_state(ours) if with_hx else None
    assert_same(ours, theirs, lambda layer: flat(*layer(x, hx)), flat(x, hx))


LENGTHS = [4, 9, 1, 9, 6, 2, 2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("enforce_sorted", [False, True])
@pytest.mark.parametrize(("num_layers", "bidirectional"), [(1, False), (2, True)])
@pytest.mark.parametrize("with_hx", [False, True])
def test_packed_sequence(
    kind: str, enforce_sorted: bool, num_layers: int, bidirectional: bool, with_hx: bool
) -> None:
    lengths = sorted(LENGTHS, reverse=True) if enforce_sorted else LENGTHS
    theirs, ours = pair(kind, 5, 11, num_layers, bidirectional=bidirectional)
    padded = torch.randn(9, len(lengths), 5, requires_grad=True)
    hx = random_state(ours, len(lengths)) if with_hx else None

    def run(layer: nn.RNNBase) -> tuple[PackedSequence, Any]:
        sizes = torch.tensor(lengths)
        return layer(pack_padded_sequence(padded, sizes, enforce_sorted=enforce_sorted), hx)

    for mine, expected in zip(run(ours)[0][1:], run(theirs)[0][1:], strict=True):
        assert (mine is None and expected is None) or torch.equal(mine, expected)
    assert_same(ours, theirs, lambda layer: flat(*run(layer)), flat(padded, hx))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_lengths_equal_packing_and_are_blind_to_padding(
    kind: str, batch_first: bool, count: int
) -> None:
    with threads(count):
        theirs, ours = pair(kind, 5, 64, 2, bidirectional=True, batch_first=batch_first)
        lengths = torch.randint(1, 40, (70,))
        padded = torch.randn(40, 70, 5)
        padded[torch.arange(40).unsqueeze(1) >= lengths] = float("nan")
        if batch_first:
            padded = padded.transpose(0, 1).contiguous()
        padded.requires_grad_()

        def run(layer: nn.RNNBase) -> list[Tensor]:
            if layer is ours:
                return flat(*layer(padded, lengths=lengths))
            packed = pack_padded_sequence(
                padded, lengths, batch_first=batch_first, enforce_sorted=False
            )
            output, state = layer(packed)
            return flat(pad_packed_sequence(output, batch_first, total_length=40)[0], state)

        assert_same(ours, theirs, run, [padded])


def test_dropout_between_layers_follows_torch_and_stops_in_eval() -> None:
    theirs, ours = pair("tanh", 6, 10, 3, dropout=0.5)
    x = torch.randn(5, 4, 6)
    torch.manual_seed(1)
    expected = theirs(x)
    torch.manual_seed(1)
    assert_all_close(list(ours(x)), list(expected))
    assert not torch.equal(ours(x)[0], ours(x)[0])
    ours.eval()
    theirs.eval()
    assert_all_close(list(ours(x)), list(theirs(x)))


def test_any_strides_of_the_input() -> None:
    theirs, ours = pair("gru", 6, 10)
    wide = torch.randn(4, 5, 24)
    for x in (
        wide[..., ::4],
        wide[..., :6],
        wide[:, :1, :6].expand(4, 5, 6),
        wide[..., :6].transpose(0, 1),
    ):
        assert_all_close(list(ours(x)), list(theirs(x)))


def test_empty_batch() -> None:
    theirs, ours = pair("tanh", 3, 4, 2)
    x = torch.randn(5, 0, 3, requires_grad=True)
    expected, mine = theirs(x), ours(x)
    assert [t.shape for t in mine] == [t.shape for t in expected]
    mine[0].sum().backward()
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in ours.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_dtypes_are_at_least_as_close_to_the_truth_as_torch(dtype: torch.dtype) -> None:
    theirs, ours = pair("tanh", 17, 33, 2, dtype=dtype)
    x = torch.randn(12, 5, 17, dtype=dtype)
    truth = copy.deepcopy(theirs).double()(x.double())[0]
    output = ours(x)[0]
    assert output.dtype == dtype
    ours_error, theirs_error = ((y.double() - truth).abs().max() for y in (output, theirs(x)[0]))
    assert ours_error <= theirs_error
    output.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == dtype for p in ours.parameters())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_second_derivatives_go_through_a_stack(kind: str, bidirectional: bool) -> None:
    theirs, ours = pair(kind, 3, 4, 2, bidirectional=bidirectional, dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    hx = random_state(ours, 2)
    found = []
    for layer in (ours, theirs):
        outputs = flat(*layer(x, hx))
        leaves = [*flat(x, hx), *layer.parameters()]
        loss = sum((each**3).sum() for each in outputs)
        first = torch.autograd.grad(loss, leaves, create_graph=True)
        second = torch.autograd.grad(sum(each.square().sum() for each in first), leaves)
        found.append([*first, *second])
    assert_all_close(*found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_gives_those_gradients_that_are_wanted(kind: str) -> None:
    theirs, ours = pair(kind, 5, 9, 3, bidirectional=True)
    x = torch.randn(4, 3, 5)
    found = []
    for layer in (ours, theirs):
        for name, parameter in layer.named_parameters():
            parameter.requires_grad_("l1" in name and "reverse" not in name)
        output, _ = layer(x)
        output.square().sum().backward()
        found.append([p.grad for p in layer.parameters() if p.grad is not None])
        assert all((p.grad is not None) == p.requires_grad for p in layer.parameters())
    assert_all_close(*found)


@pytest.mark.parametrize("kind", KINDS)
def test_the_output_of_a_stack_may_be_written_into(kind: str) -> None:
    ours = pair(kind, 5, 9, 2)[1]
    x = torch.randn(4, 3, 5)
    found = []
    for written in (False, True):
        output, _ = ours(x)
        loss = output.sum()
        if written:
            with torch.no_grad():
                output.zero_()
        found.append(list(torch.autograd.grad(loss, list(ours.parameters()))))
    assert_all_close(*found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (3, 11), (2, 16), (33, 1), (9, 32)])
@pytest.mark.parametrize("hidden", [5, 64, 83])
def test_few_vectors(kind: str, size: tuple[int, int], hidden: int) -> None:
    """Few enough, or just too many, for what is done without packing the weights."""
    theirs, ours = pair(kind, 19, hidden)
    x = torch.randn(*size, 19, requires_grad=True)
    hx = random_state(ours, size[1])
    assert_same(ours, theirs, lambda layer: flat(*layer(x, hx)), flat(x, hx))
    assert_same(ours, theirs, lambda layer: flat(*layer(x)), [x])


def test_only_the_last_hidden_state_is_used() -> None:
    theirs, ours = pair("tanh", 4, 6)
    x = torch.randn(5, 3, 4, requires_grad=True)
    for index in (0, 1):
        expected, mine = [theirs(x)[index]], [ours(x)[index]]
        assert_all_close(gradients(ours, mine, [x]), gradients(theirs, expected, [x]))


def test_nan_and_inf_go_through_as_in_torch() -> None:
    for kind in KINDS:
        theirs, ours = pair(kind, 3, 20)
        x = torch.randn(4, 3, 3)
        x[1, 0, 0], x[1, 1, 1], x[2, 2, 2] = float("nan"), float("inf"), -float("inf")
        expected, mine = theirs(x)[0], ours(x)[0]
        torch.testing.assert_close(mine, expected, rtol=2e-5, atol=2e-5, equal_nan=True)


@pytest.mark.parametrize("kind", KINDS)
def test_same_state_dict_repr_and_attributes(kind: str) -> None:
    theirs, ours = pair(kind, 3, 4, 2, bidirectional=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    assert ours.mode == theirs.mode
    assert ours.all_weights[0][0].shape == theirs.all_weights[0][0].shape
    ours.flatten_parameters()
    torch.manual_seed(3)
    ours.reset_parameters()
    torch.manual_seed(3)
    theirs.reset_parameters()
    first, second = ours.state_dict(), theirs.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in second)


def test_device_and_dtype_arguments() -> None:
    layer = rnnfast.RNN(3, 4, device="meta", dtype=torch.float64)
    output, h_n = layer(torch.empty(5, 2, 3, device="meta", dtype=torch.float64))
    assert (output.shape, h_n.shape) == ((5, 2, 4), (1, 2, 4))
    assert output.device.type == "meta"
    assert output.dtype == torch.float64


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_compute_the_same_with_their_own_parameters(copier: object) -> None:
    layer = rnnfast.LSTM(3, 4, 2, proj_size=2)
    twin = copier(layer)
    x = torch.randn(5, 2, 3)
    assert torch.equal(twin(x)[0], layer(x)[0])
    with torch.no_grad():
        twin.weight_ih_l0.zero_()
    assert not torch.equal(twin(x)[0], layer(x)[0])


def test_moving_to_another_dtype() -> None:
    theirs, ours = pair("tanh", 3, 4)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    assert_all_close(list(ours.double()(x)), list(theirs.double()(x)))


@pytest.mark.parametrize("kind", KINDS)
def test_compile_fullgraph_with_gradients(kind: str) -> None:
    theirs, ours = pair(kind, 3, 8, 2, bidirectional=True)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    for batch in (4, 6):
        x = torch.randn(5, batch, 3, requires_grad=True)
        expected, mine = flat(*theirs(x)), flat(*compiled(x))
        assert_all_close(mine, expected)
        assert_all_close(gradients(ours, mine, [x]), gradients(theirs, expected, [x]))


def test_compile_with_inductor() -> None:
    layer = nn.Sequential(nn.Linear(3, 4), rnnfast.RNN(4, 8)).eval()
    x = torch.randn(5, 2, 3)
    compiled = torch.compile(layer, fullgraph=True)
    with torch.no_grad():
        assert_all_close(list(compiled(x)), list(layer(x)))


def test_export_with_a_free_batch_size() -> None:
    layer = rnnfast.RNN(3, 8, 2).eval()
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(layer, (torch.randn(5, 4, 3),), dynamic_shapes=({1: batch},))
    x = torch.randn(5, 7, 3)
    assert_all_close(list(program.module()(x)), list(layer(x)))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", KINDS[2:])
def test_recompute_keeps_no_gates_and_gives_the_same_bits(kind: str, packed: bool) -> None:
    options = {"num_layers": 2, "bidirectional": True, "batch_first": True}
    kept, again = (pair(kind, 9, 37, **options)[1] for _ in range(2))
    again.load_state_dict(kept.state_dict())
    again.recompute = True
    lengths = torch.randint(1, 12, (100,))
    results, memory = [], []
    for layer in (kept, again):
        leaf = torch.randn(100, 11, 9, generator=torch.Generator().manual_seed(3))
        leaf.requires_grad_()
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t
        ):
            if packed:
                sequence = pack_padded_sequence(leaf, lengths, True, enforce_sorted=False)
                outputs = flat(*layer(sequence))
            else:
                outputs = flat(*layer(leaf, lengths=lengths))
        memory.append(sum(sizes))
        results.append([*outputs, *gradients(layer, outputs, [leaf])])
    assert memory[1] < 0.6 * memory[0]
    for mine, right in zip(results[1], results[0], strict=True):
        assert torch.equal(mine, right)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_few_rows_share_their_hidden_units(kind: str, batch: int, ragged: bool) -> None:
    """Four threads and fewer rows: the same bits as on one thread, since no sum is cut."""
    lengths = torch.tensor([5, 7][:batch]) if ragged else None
    _, ours = pair(kind, 31, 300)
    x = torch.randn(7, batch, 31)
    results = []
    for count in (1, 4):
        with threads(count):
            leaf = x.clone().requires_grad_()
            outputs = flat(*ours(leaf, lengths=lengths))
            results.append([*outputs, *gradients(ours, outputs, [leaf])])
    for alone, shared in zip(*results, strict=True):
        assert torch.equal(alone, shared)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_same_result_bit_for_bit_at_a_given_number_of_threads(kind: str) -> None:
    layer = getattr(rnnfast, kind)(33, 70, bidirectional=True)
    x = torch.randn(50, 40, 33, requires_grad=True)
    lengths = torch.randint(1, 51, (40,))
    runs = []
    for _ in range(3):
        outputs = flat(*layer(x, lengths=lengths))
        runs.append([*outputs, *gradients(layer, outputs, [x])])
    assert all(
        torch.equal(first, again)
        for run in runs[1:]
        for first, again in zip(runs[0], run, strict=True)
    )


def bad_calls() -> dict[str, tuple[type[Exception], str, object]]:
    layer = rnnfast.RNN(3, 4)
    x = torch.randn(5, 2, 3)
    packed = pack_padded_sequence(x, torch.tensor([5, 2]))
    lengths = torch.tensor([5, 2])
    return {
        "features": (RuntimeError, "got: 2", lambda: layer(x[..., :2])),
        "rank": (ValueError, "got 4D", lambda: layer(x[None])),
        "no steps": (RuntimeError, "at least one time step", lambda: layer(x[:0])),
        "hx batch": (RuntimeError, "hidden", lambda: layer(x, torch.zeros(1, 3, 4))),
        "hx rank": (RuntimeError, "2-D tensor", lambda: layer(x, torch.zeros(2, 4))),
        "hx dtype": (
            RuntimeError,
            "h0 must have the dtype",
            lambda: layer(x, torch.zeros(1, 2, 4).double()),
        ),
        "input dtype": (ValueError, "dtype", lambda: layer(x.double())),
        "integers": (ValueError, "dtype", lambda: layer(x.long())),
        "length 0": (
            RuntimeError,
            "between 1 and .* got: 0",
            lambda: layer(x, lengths=torch.tensor([5, 0])),
        ),
        "length 6": (
            RuntimeError,
            "between 1 and .* got: 6",
            lambda: layer(x, lengths=torch.tensor([6, 2])),
        ),
        "count": (
            RuntimeError,
            "one entry for each of the 2",
            lambda: layer(x, lengths=torch.tensor([5])),
        ),
        "float lengths": (RuntimeError, "int64", lambda: layer(x, lengths=lengths.float())),
        "pair": (
            RuntimeError,
            "3-D input",
            lambda: rnnfast.LSTM(3, 4)(x, (torch.zeros(1, 2, 4), torch.zeros(2, 4))),
        ),
        "cell width": (
            RuntimeError,
            "hidden\\[1\\]",
            lambda: rnnfast.LSTM(3, 4)(x, (torch.zeros(1, 2, 4), torch.zeros(1, 2, 5))),
        ),
        "packed and lengths": (
            ValueError,
            "lengths must be None",
            lambda: layer(packed, lengths=lengths),
        ),
        "nonlinearity": (
            ValueError,
            "'sigmoid'",
            lambda: rnnfast.RNN(3, 4, nonlinearity="sigmoid"),
        ),
        "hidden size": (ValueError, "hidden_size", lambda: rnnfast.RNN(3, 0)),
    }


@pytest.mark.parametrize("case", bad_calls())
def test_bad_calls_are_clear_errors(case: str) -> None:
    error, message, call = bad_calls()[case]
    with pytest.raises(error, match=message):
        call()
