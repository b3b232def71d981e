"""The recurrent layer as an operator of torch: the only caller of ``torch.ops.rnnfast``.

One call is one layer in one direction, on the CPU or on an NVIDIA GPU. The kernels are in ``csrc``; this file adds what
tracing and differentiation need. It leaves stacking, directions and dropout to :mod:`rnnfast.nn.layers`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, library
from torch.autograd import forward_ad

import rnnfast._C  # noqa: F401  (registers the operators)
from rnnfast.nn import transforms

CELLS = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}
"""The cells that the kernels have, and the number of gates of each, G."""

NUMBERS = {cell: number for number, cell in enumerate(CELLS)}
"""What the operators call them."""

COMPUTED_DTYPES = (torch.float32, torch.float64)
"""What the kernels compute in as it is. bfloat16 is multiplied with sums in float32; on the CPU float16 is computed in
float32 and rounded at the end.
"""

_HAS_CUDA = torch._C._dispatch_has_kernel_for_dispatch_key("rnnfast::layer", "CUDA")
"""Whether the extension was compiled with the kernels for GPUs."""

NARROW_DTYPES = (torch.float16, torch.bfloat16)


def why_not(device: torch.device, dtype: torch.dtype) -> str | None:
    """The reason why the kernels cannot serve this device and dtype, or None if they can."""
    if device.type not in ("cpu", "cuda", "meta"):
        return f"device must be cpu or cuda, got: {device.type} (torch.nn.RNN runs there)"
    if device.type == "cuda" and not _HAS_CUDA:
        return (
            "device must be cpu, got: cuda (rnnfast was built without it; torch.nn.RNN runs there)"
        )
    if dtype not in COMPUTED_DTYPES + NARROW_DTYPES:
        return f"dtype must be float32, float64, float16 or bfloat16, got: {dtype}"
    return None


def layer(
    cell: str,
    input: Tensor,
    h0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    w_hr: Tensor | None = None,
    *,
    c0: Tensor | None = None,
    lengths: Tensor | None = None,
    batch_sizes: Tensor | None = None,
    batch_first: bool = False,
    reverse: bool = False,
    recompute: bool = False,
) -> tuple[Tensor, ...]:
    """One recurrent layer in one direction.

    T is the number of time steps, N that of batch rows, I the input size, H the hidden size, G the number of gates, and
    P the width of the hidden state, which is H unless an LSTM has a projection.

    Args:
        cell: one of :data:`CELLS`.
        input: (T, N, I), or (N, T, I) with ``batch_first``, or (rows, I) with ``batch_sizes``. Any strides will do;
            they cost a copy if the last dimension is not contiguous, and on a GPU also if the others do not fold into
            one.
        h0: (N, P), the hidden state before the first step.
        w_ih: (G*H, I), the gates in torch's order.
        w_hh: (G*H, P).
        b_ih: (G*H,), or None, and then b_hh too.
        b_hh: (G*H,).
        w_hr: (P, H), the projection of an LSTM; None: it has none.
        c0: (N, H), the cell state of an LSTM before the first step; None for other cells.
        lengths: (N,) int64 on the CPU, each in 1..T, in any order: the true length of each row. What is past it costs
            nothing and is 0 in the output.
        batch_sizes: (T,) int64 on the CPU, those of a ``PackedSequence``.
        batch_first: the batch is the first dimension of input and output.
        reverse: from the last true step to the first.
        recompute: keep no gates of a GRU or LSTM for the backward pass, which makes them again from the output (and an
            LSTM's cell states): less memory for a longer training step, with the same result, on the CPU to the last
            bit.

    Returns:
        The hidden states, shaped like the input with P in the place of I, and the last one of each row, (N, P); for an
        LSTM also the last cell state, (N, H). They can be differentiated as often as one likes, backward and forward;
        beyond the first derivative backward that is T steps of plain torch operations.

    Raises:
        RuntimeError: an argument has the wrong shape, dtype or device, or a length is out of range.
        torch.OutOfMemoryError: the GPU has no room for what the layer computes. Inside of torch.compile and torch.func
            that is a RuntimeError with the same words.
    """
    _check(cell, input)
    tensors = (input, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr)
    narrow = _is_narrow(input)
    if narrow:
        tensors = tuple(None if t is None else t.float() for t in tensors)  # type: ignore[assignment]
    transformed = _transformed()
    keep = _CELLS_IF_NEEDED if recompute else _ALL_IF_NEEDED
    tf32 = _may_round(input)
    arguments = (NUMBERS[cell], *tensors, lengths, batch_sizes, batch_first, reverse, keep, tf32)
    if transformed:
        output, h_n, c_n, _ = _apply(_Layer, *_settled(arguments, torch.is_grad_enabled()))
    elif _is_traced():
        output, h_n, c_n, _ = torch.ops.rnnfast.layer(*arguments)
    else:
        output, h_n, c_n, _ = _differentiable(*arguments)
    results = (output, h_n) if c0 is None else (output, h_n, c_n)
    return tuple(t.to(input.dtype) for t in results) if narrow else results


def stack(
    cell: str,
    input: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    weights: Sequence[Sequence[Tensor | None]],
    *,
    directions: int = 1,
    dropout: float = 0.0,
    lengths: Tensor | None = None,
    batch_sizes: Tensor | None = None,
    batch_first: bool = False,
    recompute: bool = False,
) -> tuple[Tensor, ...]:
    """Layers on one another, each in one or both directions: as so many calls of :func:`layer`, in less time.

    To autograd they are one function, so that a short call does not take its time for every layer.

    Args:
        cell: one of :data:`CELLS`.
        input: as for :func:`layer`.
        h0: (layers * directions, N, P), both directions of a layer beside each other; None: zeros.
        c0: (layers * directions, N, H) for an LSTM; None: zeros, or that the cell has none.
        weights: for each layer and direction w_ih, w_hh, b_ih, b_hh and w_hr as for :func:`layer`.
        directions: 2: each layer's output is that of a forward and of a reverse sweep beside each other.
        dropout: probability of zeroing an output between layers.
        lengths: as for :func:`layer`.
        batch_sizes: likewise.
        batch_first: likewise.
        recompute: likewise.

    Returns:
        The output of the last layer, shaped like the input with directions * P features; h_n, shaped like h0; for an
        LSTM also c_n, shaped like c0.

    Raises:
        RuntimeError: as by :func:`layer`.
    """
    if h0 is None:
        batch = (
            int(batch_sizes[0]) if batch_sizes is not None else input.shape[0 if batch_first else 1]
        )
        h0, c0 = _zeros(cell, input, batch, weights[0])
        h0s, c0s = (h0,) * len(weights), (c0,) * len(weights)
    else:
        h0s = h0.unbind()
        c0s = (None,) * len(weights) if c0 is None else c0.unbind()
    if (
        _is_narrow(input)
        or (dropout > 0 and len(weights) > directions)
        or _transformed()
        or _is_traced()
    ):
        settings = {"lengths": lengths, "batch_sizes": batch_sizes, "batch_first": batch_first}
        places = list(zip(h0s, c0s, weights, strict=True))
        return _layer_by_layer(
            cell, input, places, directions, dropout, recompute=recompute, **settings
        )
    _check(cell, input)
    keep = _CELLS_IF_NEEDED if recompute else _ALL_IF_NEEDED
    call = _Stack(
        NUMBERS[cell],
        directions,
        (lengths, batch_sizes, batch_first),
        keep,
        _may_round(input),
    )
    if torch.is_grad_enabled():
        flat = (*h0s, *c0s, *(each for place in weights for each in place))
        if input.requires_grad or any(x is not None and x.requires_grad for x in flat):
            return _EagerStack.apply(call, input, *flat)  # type: ignore[no-any-return, no-untyped-call]
    with torch._C._AutoDispatchBelowAutograd():
        results, _ = call.forward(input, h0s, c0s, weights)
    return results


def _zeros(
    cell: str, input: Tensor, batch: int, weights: Sequence[Any]
) -> tuple[Tensor, Tensor | None]:
    """The states before the first step where none are given, h0 and c0: nobody writes into them."""
    _, w_hh, *_, w_hr = weights
    hidden = w_hh.shape[0] // CELLS[cell]
    h0 = input.new_zeros(batch, w_hh.shape[1])
    if cell != "lstm":
        return h0, None
    return h0, h0 if w_hr is None else input.new_zeros(batch, hidden)


POOLINGS = ("mean", "max", "last")
"""What :func:`pooled` can make of the hidden states of a row."""


def pooled(
    cell: str,
    ids: Tensor,
    lengths: Tensor,
    table: Tensor,
    w_hh: Tensor,
    b_hh: Tensor | None = None,
    *,
    pooling: tuple[str, ...],
    word_weights: Tensor | None = None,
    distinct: bool = False,
    padding_before: bool = False,
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """From token ids to pooled hidden states, for inference: one layer in one direction that writes no sequence.

    N is the number of rows, L the tokens that a row holds, V the number of words, H the hidden size, G the number of
    gates. The states before the first step are 0. Thousands of rows at once are best: they are sorted by their lengths
    here, and padding costs nothing.

    A row's result is the same bit for bit whatever other rows there are, in whatever order, and for any number of
    threads; another instruction set rounds in another way.

    Args:
        cell: one of :data:`CELLS`.
        ids: (N, L) int32 or int64, each of a row's tokens in 0..V-1; padding is not read.
        lengths: (N,) int64, each in 1..L, in any order: the number of tokens of each row.
        table: (V, G*H), what a word adds to the sums of its step, W_ih x + b_ih, the gates in torch's order. Rows may
            stand apart: at multiples of 64 bytes they are read fastest.
        w_hh: (G*H, H).
        b_hh: (G*H,), or None for zeros.
        pooling: of :data:`POOLINGS` what is wanted: the mean and the maximum of the hidden states over a row's tokens,
            and the state after the last step.
        word_weights: (V,), a weight of each word by itself, or None.
        distinct: a word's weight counts once in a row, however often the word is there.
        padding_before: a row's tokens are its last ones, not its first ones.
        reverse: from the last token to the first.

    Returns:
        (N, H) for each name in ``pooling``, in that order. With ``word_weights`` there is (N,) at the end: of each row
        the sum of the weights that count, over the square root of their number.

    Raises:
        RuntimeError: an argument has the wrong shape, dtype or device, an id or a length is out of range, or a gradient
            would have to go through.
    """
    if cell not in CELLS:
        raise RuntimeError(f"rnnfast: cell must be one of {', '.join(CELLS)}, got: {cell}")
    if wrong := [name for name in pooling if name not in POOLINGS]:
        raise RuntimeError(f"rnnfast: pooling must be of {', '.join(POOLINGS)}, got: {wrong[0]}")
    if _transformed():
        raise RuntimeError("rnnfast: pooled must stay outside of torch.func and forward gradients")
    weights = {"table": table, "w_hh": w_hh, "b_hh": b_hh, "word_weights": word_weights}
    for name, tensor in weights.items():
        if torch.is_grad_enabled() and tensor is not None and tensor.requires_grad:
            raise RuntimeError(
                f"rnnfast: {name} must not require a gradient, since pooled has none: call it under "
                "torch.inference_mode() or torch.no_grad()"
            )
    wanted = tuple(name in pooling for name in POOLINGS)
    options = (distinct, padding_before, reverse, *wanted)
    *results, sums = torch.ops.rnnfast.pooled(
        NUMBERS[cell], ids, lengths, *weights.values(), *options
    )
    pooled = (results[POOLINGS.index(name)] for name in pooling)
    return (*pooled, *(() if word_weights is None else (sums,)))


def quantized_layer(
    cell: str,
    input: Tensor,
    h0: Tensor,
    packed: Tensor,
    *,
    c0: Tensor | None = None,
    lengths: Tensor | None = None,
    batch_sizes: Tensor | None = None,
    batch_first: bool = False,
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """One recurrent layer in one direction whose weights are bytes, for inference on the CPU.

    Args:
        cell: one of :data:`CELLS`.
        input: as for :func:`layer`, float32.
        h0: (N, P), the hidden state before the first step.
        packed: the bytes, uint8, that :func:`rnnfast.nn.quantization.pack` makes.
        c0: (N, H), the cell state of an LSTM before the first step; None for other cells.
        lengths: as for :func:`layer`.
        batch_sizes: likewise.
        batch_first: likewise.
        reverse: likewise.

    Returns:
        As :func:`layer`, without derivatives.

    Raises:
        RuntimeError: an argument has the wrong shape, dtype or device, or a length is out of range.
    """
    output, *last = QUANTIZED_LAYER(
        NUMBERS[cell], input, h0, c0, packed, lengths, batch_sizes, batch_first, reverse
    )
    return (output, *last) if c0 is not None else (output, last[0])


def quantized_stack(
    cell: str,
    input: Tensor,
    states: tuple[Tensor, ...],
    packed: Sequence[Tensor],
    directions: int,
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    """What :func:`stack` gives, by calls of :func:`quantized_layer`; packed: of all layers and directions."""
    last = []
    for first in range(0, len(packed), directions):
        outputs = []
        for place in range(first, first + directions):
            h0, *c0 = (each[place] for each in states)
            output, *after = quantized_layer(
                cell,
                input,
                h0,
                packed[place],
                c0=c0[0] if c0 else None,
                lengths=lengths,
                batch_sizes=batch_sizes,
                batch_first=batch_first,
                reverse=place > first,
            )
            outputs.append(output)
            last.append(after)
        input = outputs[0] if directions == 1 else torch.cat(outputs, dim=-1)
    return input, *(torch.stack(each) for each in zip(*last, strict=True))


_SUMS = ((1, 1), (1, 1), (4, 3), (4, 4))
"""For each cell its sums, and how many of them have either matrix."""


def check_packed(cell: int, inputs: int, hidden: int, width: int, packed: Tensor) -> None:
    """Raises RuntimeError unless there are as many bytes as csrc/cpu/int8/layout.h has for a quantized layer."""
    sums, products = _SUMS[cell]
    words = -(-inputs // 4) + -(-width // 4)
    size = -(-hidden // 16) * 64 * (5 * sums + products * words) + 15 * 64
    if width != hidden:
        size += -(-width // 16) * 64 * (2 + -(-hidden // 4))
    if packed.numel() != size:
        raise RuntimeError(
            f"rnnfast: the packed weights of {inputs} inputs and {hidden} hidden units must have {size} bytes, "
            f"got: {packed.numel()}"
        )


def cpu_target() -> str:
    """Name of the instruction set that the CPU kernels use: the best that this machine has, or RNNFAST_CPU_TARGET.

    Raises:
        RuntimeError: RNNFAST_CPU_TARGET names one that this machine does not have; the message lists those it has.
    """
    return str(torch.ops.rnnfast.cpu_target())


def cpu_peak(seconds: float = 0.2) -> float:
    """Floating-point operations a second of torch's threads while all of them do nothing but FMAs, for so many seconds.

    That is what the processor sustains: under such work many lower their clock, so measure it beside what it is for.
    """
    return float(torch.ops.rnnfast.cpu_peak(seconds))


def cpu_targets() -> tuple[str, ...]:
    """Names of the instruction sets that this machine can run, best first."""
    return tuple(torch.ops.rnnfast.cpu_targets().split(", "))


def cpu_target_ran() -> str:
    """Name of the instruction set whose kernel ran last on this thread, as the kernel itself reported it."""
    return str(torch.ops.rnnfast.cpu_target_ran())


_SAVED = (0, 0, 4, 5)
"""For each cell, the numbers of a hidden unit that the backward pass needs beside the output."""

_KEEP_NOTHING, _KEEP_CELLS, _KEEP_ALL, _CELLS_IF_NEEDED, _ALL_IF_NEEDED = range(5)
"""How much of that the forward pass keeps: with the cell states alone, the backward pass makes the rest again.

The last two are what a graph holds, so that it trains and infers as well whatever the grad mode was when it was traced:
each call settles them, by :func:`_differentiable`.
"""


@library.register_fake("rnnfast::layer")
def _layer_fake(
    cell: int,
    input: Tensor,
    h0: Tensor,
    c0: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    batch_first: bool,
    reverse: bool,
    keep: int,
    tf32: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # What mixes the meta device with another one comes here as well.
    for name, tensor in (
        ("h0", h0),
        ("c0", c0),
        ("w_ih", w_ih),
        ("w_hh", w_hh),
        ("b_ih", b_ih),
        ("b_hh", b_hh),
        ("w_hr", w_hr),
    ):
        if tensor is not None and tensor.device != input.device:
            raise RuntimeError(
                f"rnnfast: {name} must be on {input.device} as input is, got: {tensor.device}"
            )
    for name, tensor in (("lengths", lengths), ("batch_sizes", batch_sizes)):
        # With the input on the meta device nobody reads them.
        allowed = ("cpu", "meta") if input.device.type == "meta" else ("cpu",)
        if tensor is not None and tensor.device.type not in allowed:
            raise RuntimeError(f"rnnfast: {name} must be on the CPU, got: {tensor.device}")
    hidden = w_hh.shape[0] // tuple(CELLS.values())[cell]
    steps = input.shape[:-1]
    kept = (0, int(c0 is not None), _SAVED[cell], 0, 0)[keep]
    return (
        input.new_empty((*steps, h0.shape[1])),
        h0.new_empty(h0.shape),
        input.new_empty(0) if c0 is None else c0.new_empty(c0.shape),
        input.new_empty((*steps, kept * hidden) if kept else 0),
    )


@library.register_fake("rnnfast::layer_backward")
def _layer_backward_fake(
    cell: int,
    grad_output: Tensor | None,
    grad_h_n: Tensor | None,
    grad_c_n: Tensor | None,
    input: Tensor,
    h0: Tensor,
    c0: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    output: Tensor,
    reserve: Tensor,
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    batch_first: bool,
    reverse: bool,
    input_gradient: bool,
    tf32: bool = False,
    state_gradient: bool = True,
) -> tuple[Tensor, ...]:
    def like(tensor: Tensor | None) -> Tensor:
        return input.new_empty(0 if tensor is None else tensor.shape)

    bias = w_ih.shape[:1]
    return (
        like(input if input_gradient else None),
        like(h0 if state_gradient else None),
        like(c0),
        like(w_ih),
        like(w_hh),
        w_ih.new_empty(bias),
        w_ih.new_empty(bias),
        like(w_hr),
    )


@library.register_fake("rnnfast::quantized_layer")
def _quantized_layer_fake(
    cell: int,
    input: Tensor,
    h0: Tensor,
    c0: Tensor | None,
    weights: Tensor,
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    batch_first: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        input.new_empty((*input.shape[:-1], h0.shape[1])),
        h0.new_empty(h0.shape),
        input.new_empty(0) if c0 is None else c0.new_empty(c0.shape),
    )


@library.register_fake("rnnfast::pooled")
def _pooled_fake(
    cell: int,
    ids: Tensor,
    lengths: Tensor,
    table: Tensor,
    w_hh: Tensor,
    b_hh: Tensor | None,
    word_weights: Tensor | None,
    distinct: bool,
    padding_before: bool,
    reverse: bool,
    with_mean: bool,
    with_max: bool,
    with_last: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows, hidden = ids.shape[0], w_hh.shape[1]
    wanted = (hidden if each else 0 for each in (with_mean, with_max, with_last))
    mean, maximum, last = (table.new_empty(rows, width) for width in wanted)
    return mean, maximum, last, table.new_empty(0 if word_weights is None else rows)


_LAYER = ("cell", *transforms.PRIMALS, *transforms.OPTIONS, "keep", "tf32")
_BACKWARD = (
    "cell",
    *transforms.COTANGENTS,
    *transforms.PRIMALS,
    "output",
    "reserve",
    *transforms.OPTIONS,
    "input_gradient",
    "tf32",
    "state_gradient",
)
"""The arguments of the operators, by name."""


def _remember(ctx: Any, call: dict[str, Any]) -> None:
    tensors = {name: value for name, value in call.items() if isinstance(value, Tensor)}
    ctx.call = {name: None if name in tensors else value for name, value in call.items()}
    ctx.tensors = tuple(tensors)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors.values())
    if _transformed():
        ctx.save_for_forward(*tensors.values())


def _recall(ctx: Any) -> dict[str, Any]:
    return {**ctx.call, **dict(zip(ctx.tensors, ctx.saved_tensors, strict=True))}


def _present(names: tuple[str, ...], values: tuple[Tensor | None, ...]) -> dict[str, Tensor]:
    return {name: each for name, each in zip(names, values, strict=True) if each is not None}


def _remember_layer(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    call = dict(zip(_LAYER, inputs, strict=True))
    _remember(ctx, {**call, "output": output[0], "reserve": output[3]})


_NO_NUMBERS = torch.empty(0)


def _versions(tensor: Tensor) -> Tensor:
    """A tensor without numbers whose ``_version`` is that of another one, now and later."""
    same = tensor.detach()
    same.data = _NO_NUMBERS if tensor.is_cpu else tensor.new_empty(0)
    return same


def _kept(output: Tensor) -> tuple[Tensor | None, Tensor]:
    """What tells whether somebody wrote into the output since, and what to keep of it for the backward pass.

    The caller may write into the output or free it, as with torch's layers, which keep the hidden states twice for
    that. Here the backward pass looks whether they are as they were, and else computes them again. In a graph they are
    a copy, which torch's compiler leaves out where nobody writes.
    """
    return (_versions(output), output.data) if type(output) is Tensor else (None, output.clone())


def _remember_eager(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """As :func:`_remember_layer`, but with an output that is the caller's as well."""
    hidden, *_, reserve = output
    ctx.versions, hidden = _kept(hidden)
    ctx.version = None if ctx.versions is None else ctx.versions._version
    _remember(ctx, {**dict(zip(_LAYER, inputs, strict=True)), "output": hidden, "reserve": reserve})


def _backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
    needs = ctx.needs_input_grad[1:9]
    call = _recall(ctx)
    if getattr(ctx, "versions", None) is not None and (
        ctx.versions._version != ctx.version or not call["output"].untyped_storage().nbytes()
    ):
        again = (*(call[name] for name in _LAYER[:-2]), _KEEP_NOTHING, call["tf32"])
        call["output"] = _below_autograd(LAYER.default, *again)[0]
    call |= dict(zip(transforms.COTANGENTS, cotangents, strict=False))
    call |= {"input_gradient": needs[0], "state_gradient": needs[1]}
    arguments = (*(call[name] for name in _BACKWARD), needs)
    if torch.is_grad_enabled() or _transformed():
        gradients = _apply(_LayerBackward, *arguments)
    else:
        gradients = _LayerBackward.forward(*arguments)
    return None, *gradients, *(None,) * (len(_LAYER) - 9)


def _allows_tf32() -> bool:
    """What torch's switch says, in whichever of its ways it was set; torch.compile compiles again when it changes."""
    return bool(torch.backends.cuda.matmul.fp32_precision == "tf32")


def _may_round(input: Tensor) -> bool:
    """Whether products of float32 may be those of fewer bits: TF32 on a GPU, bfloat16 on the CPU."""
    if input.dtype != torch.float32:
        return False
    return _allows_tf32() if input.is_cuda else _allows_bf16()


def _allows_bf16() -> bool:
    """Whether the CPU may multiply float32 as bfloat16: under autocast, or by torch's switches of its own products."""
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return _switched_to_bf16()


def _switched_to_bf16() -> bool:
    """What ``torch.backends.mkldnn.matmul.fp32_precision`` and that of ``rnn`` say, 16 us a call faster."""
    precision = torch._C._get_fp32_precision_getter
    return precision("mkldnn", "matmul") == "bf16" or precision("mkldnn", "rnn") == "bf16"


# What torch.compiler.assume_constant_result sets; it would load the compiler as well, which takes as long as torch.
_allows_tf32._dynamo_marked_constant = True  # type: ignore[attr-defined]
_switched_to_bf16._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _transformed() -> bool:
    """Whether torch.func or differentiation forward is at work: neither sees the registered formula."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    # torch.compile cannot trace the rules of torch.func. At this it breaks its graph, or with fullgraph says so.
    if torch.compiler.is_compiling():
        raise NotImplementedError("rnnfast: torch.func must stay outside of torch.compile")
    return function.apply(*arguments)


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def _is_narrow(input: Tensor) -> bool:
    """Whether the numbers are computed in float32 and rounded at the end."""
    return input.dtype == torch.float16 and not input.is_cuda


def _check(cell: str, input: Tensor) -> None:
    if not (input.is_cpu and input.dtype in COMPUTED_DTYPES):  # which takes a tenth of the time
        reason = why_not(input.device, input.dtype)
        if reason is not None:
            raise RuntimeError(f"rnnfast: {reason}")
    if cell not in CELLS:
        raise RuntimeError(f"rnnfast: cell must be one of {', '.join(CELLS)}, got: {cell}")


def _called(operator: Any, *arguments: Any) -> Any:
    """What an operator returns; its errors are of torch's types."""
    try:
        return operator(*arguments)
    except RuntimeError as error:
        # Torch's stable interface, through which the kernels allocate, hands on no types of exceptions.
        if "out of memory" in str(error):
            raise torch.OutOfMemoryError(str(error)) from None
        raise


def _below_autograd(operator: Any, *arguments: Any) -> Any:
    """Calls an operator without the detour, in Python, by which torch finds its autograd formula."""
    with torch._C._AutoDispatchBelowAutograd():
        return _called(operator, *arguments)


class _EagerLayer(torch.autograd.Function):
    """``rnnfast::layer`` where nothing traces or transforms it.

    One function, not two as :class:`_Layer`, for whose sake torch would read the signature at every call: a third of
    the time of a short step.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        results = _below_autograd(LAYER.default, *arguments)
        _remember_eager(ctx, arguments, results)
        return results  # type: ignore[no-any-return]

    backward = staticmethod(_backward)


def _layer_by_layer(
    cell: str,
    input: Tensor,
    places: Sequence[tuple[Any, Any, Sequence[Any]]],
    directions: int,
    dropout: float = 0.0,
    **settings: Any,
) -> tuple[Tensor, ...]:
    """A stack by calls of :func:`layer`; places: h0, c0 and the weights of each layer and direction."""
    last = []
    for first in range(0, len(places), directions):
        if first > 0 and dropout > 0:
            input = torch.nn.functional.dropout(input, dropout)
        outputs = []
        for place in range(first, first + directions):
            h0, c0, weights = places[place]
            output, *after = layer(
                cell, input, h0, *weights, c0=c0, reverse=place > first, **settings
            )
            outputs.append(output)
            last.append(after)
        input = outputs[0] if directions == 1 else torch.cat(outputs, dim=-1)
    return input, *(torch.stack(each) for each in zip(*last, strict=True))


class _Stack(NamedTuple):
    """The calls of ``rnnfast::layer`` that a stack is, below autograd."""

    cell: int
    directions: int
    options: tuple[Any, ...]
    """lengths, batch_sizes and batch_first."""
    keep: int
    tf32: bool

    def forward(
        self,
        input: Tensor,
        h0s: Sequence[Tensor],
        c0s: Sequence[Tensor | None],
        weights: Sequence[Sequence[Tensor | None]],
    ) -> tuple[tuple[Tensor, ...], tuple[list[Tensor], ...]]:
        """What :func:`stack` returns, an LSTM or not; and each layer's input, each place's output and reserve."""
        cell, directions, options, keep, tf32 = self
        inputs, outputs, h_ns, c_ns, reserves = [], [], [], [], []
        for place, each in enumerate(weights):
            reverse = place % directions == 1
            if not reverse:
                inputs.append(input)
            output, h_n, c_n, reserve = _called(
                LAYER.default,
                cell,
                input,
                h0s[place],
                c0s[place],
                *each,
                *options,
                reverse,
                keep,
                tf32,
            )
            outputs.append(output)
            h_ns.append(h_n)
            c_ns.append(c_n)
            reserves.append(reserve)
            if reverse:
                input = torch.cat(outputs[-2:], -1)
            elif directions == 1:
                input = output
        states = [
            each[0].unsqueeze(0) if len(each) == 1 else torch.stack(each)
            for each in ((h_ns,) if c0s[0] is None else (h_ns, c_ns))
        ]
        return (input, *states), (inputs, outputs, reserves)


class _EagerStack(torch.autograd.Function):
    """:func:`stack` where nothing traces or transforms it; the operands are h0s, c0s, and the weights one by one."""

    @staticmethod
    def forward(ctx: Any, call: _Stack, input: Tensor, *operands: Any) -> tuple[Tensor, ...]:
        count = len(operands) // 7
        call = call._replace(keep=call.keep - _CELLS_IF_NEEDED + _KEEP_CELLS)
        with torch._C._AutoDispatchBelowAutograd():
            results, inner = call.forward(
                input, operands[:count], operands[count : 2 * count], _by_place(operands, count)
            )
            inputs, outputs, reserves = inner
            if call.directions == 1:  # the last of them is the caller's
                ctx.versions, outputs[-1] = _kept(outputs[-1])
                ctx.version = None if ctx.versions is None else ctx.versions._version
        ctx.set_materialize_grads(False)
        ctx.call, ctx.count = call, count
        ctx.save_for_backward(input, *operands, *outputs, *reserves, *inputs[1:])
        return results

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        call, count, needs = ctx.call, ctx.count, ctx.needs_input_grad[1:]
        saved = ctx.saved_tensors
        input, operands = saved[0], saved[1 : 1 + 7 * count]
        again = torch.is_grad_enabled() and not _transformed()
        if again and count > 1:  # what is between the layers has to be differentiated too
            return None, *_differentiated(call, saved[: 1 + 7 * count], needs, cotangents)
        outputs, reserves, between = (
            list(saved[1 + n * count : 1 + (n + 1) * count]) for n in (7, 8, 9)
        )
        inputs = [input, *between]
        h0s, c0s, weights = (
            operands[:count],
            operands[count : 2 * count],
            _by_place(operands, count),
        )
        run = partial(_apply, _LayerBackward) if again or _transformed() else _LayerBackward.forward
        directions, (lengths, batch_sizes, batch_first) = call.directions, call.options
        if getattr(ctx, "versions", None) is not None and (
            ctx.versions._version != ctx.version or not outputs[-1].untyped_storage().nbytes()
        ):
            outputs[-1] = _below_autograd(
                LAYER.default, call.cell, inputs[-1], h0s[-1], c0s[-1], *weights[-1], lengths, batch_sizes,
                batch_first, False, _KEEP_NOTHING, call.tf32,
            )[0]  # fmt: skip
        grad_output, grad_h_n, grad_c_n = (*cotangents, None)[:3]
        found: list[Tensor | None] = [None] * (1 + 7 * count)
        needed = [any(needs[n] for n in _operands_of(place, count)) for place in range(count)]
        of_place: Any
        for place in reversed(range(count)):
            first = place - place % directions
            if place == first + directions - 1:
                halves = (None,) * directions
                if grad_output is not None:
                    halves = grad_output.chunk(2, -1) if directions == 2 else (grad_output,)
                grad_output = None
            wanted = needs[0] or any(needed[:first])
            if not wanted and not needed[place]:
                continue
            primals = (wanted, *(needs[n] for n in _operands_of(place, count)))
            of_place = run(
                call.cell,
                halves[place - first],
                None if grad_h_n is None else grad_h_n[place],
                None if grad_c_n is None else grad_c_n[place],
                inputs[place // directions],
                h0s[place],
                c0s[place],
                *weights[place],
                outputs[place],
                reserves[place],
                lengths,
                batch_sizes,
                batch_first,
                place > first,
                wanted,
                call.tf32,
                primals[1],
                primals,
            )
            if wanted:
                grad_output = of_place[0] if grad_output is None else grad_output + of_place[0]
            for n, gradient in zip(_operands_of(place, count), of_place[1:], strict=True):
                found[n] = gradient
        found[0] = grad_output if needs[0] else None
        return None, *found


def _by_place(operands: Sequence[Any], count: int) -> list[Any]:
    """The weights among the operands, for each layer and direction."""
    return [operands[n : n + 5] for n in range(2 * count, 7 * count, 5)]


def _operands_of(place: int, count: int) -> tuple[int, ...]:
    """Of a layer and direction, h0, c0 and the weights: their places behind the input."""
    weights = 1 + 2 * count + 5 * place
    return (1 + place, 1 + count + place, *range(weights, weights + 5))


def _differentiated(
    call: _Stack, tensors: Sequence[Any], needs: Sequence[bool], cotangents: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The gradients of a stack in operations that can be differentiated again, after one more forward pass."""
    count = (len(tensors) - 1) // 7
    input, *operands = tensors
    places = list(
        zip(operands[:count], operands[count : 2 * count], _by_place(operands, count), strict=True)
    )
    options = dict(zip(("lengths", "batch_sizes", "batch_first"), call.options, strict=True))
    results = _layer_by_layer(
        tuple(CELLS)[call.cell],
        input,
        places,
        call.directions,
        recompute=call.keep == _KEEP_CELLS,
        **options,
    )
    given = [(y, g) for y, g in zip(results, cotangents, strict=True) if g is not None]
    wanted = [tensor for tensor, need in zip(tensors, needs, strict=True) if need]
    gradients = iter(
        torch.autograd.grad(
            [y for y, _ in given],
            wanted,
            [g for _, g in given],
            create_graph=True,
            allow_unused=True,
        )
    )
    return [next(gradients) if need else None for need in needs]


def _settled(arguments: tuple[Any, ...], learns: bool) -> tuple[Any, ...]:
    """The arguments of ``rnnfast::layer`` with what to keep settled: in inference nothing, so that memory does not grow
    with T beyond the output.
    """
    *others, keep, tf32 = arguments
    if keep in (_CELLS_IF_NEEDED, _ALL_IF_NEEDED):
        keep -= _CELLS_IF_NEEDED - _KEEP_CELLS
    return (*others, keep if learns else _KEEP_NOTHING, tf32)


def _differentiable(*arguments: Any) -> tuple[Tensor, ...]:
    """``rnnfast::layer`` with its derivative, if one may be asked for.

    Without one the arguments stay as they are, so that what traces below autograd has a graph that can be trained.
    """
    if torch.is_grad_enabled():
        for each in arguments[1:9]:
            if each is not None and each.requires_grad:
                return _EagerLayer.apply(*_settled(arguments, True))  # type: ignore[no-any-return, no-untyped-call]
    return _below_autograd(LAYER.default, *arguments)  # type: ignore[no-any-return]


_AUTOGRAD = library.Library("rnnfast", "IMPL")
"""Holds what is registered in it."""
_AUTOGRAD.impl(
    "layer",
    # Torch leaves out a last argument that has its default value.
    lambda *arguments: _differentiable(*(*arguments, False)[: len(_LAYER)]),
    "Autograd",
)


class _Layer(torch.autograd.Function):
    """``rnnfast::layer`` with every derivative and under ``torch.func``."""

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, ...]:
        return torch.ops.rnnfast.layer(*arguments)  # type: ignore[no-any-return]

    setup_context = staticmethod(_remember_layer)
    backward = staticmethod(_backward)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        call = _recall(ctx)
        results = transforms.pushed(transforms.outputs, call, _present(_LAYER, tangents))
        no_cell = () if call["c0"] is not None else (call["reserve"].new_zeros(0),)
        return *results, *no_cell, torch.zeros_like(call["reserve"])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> Any:
        call = dict(zip(_LAYER, arguments, strict=True))
        results = ("output", "h_n", "c_n", "reserve")
        # Beneath the last transform it is a call as any other, without what torch takes to find the rules above.
        run = partial(_apply, _Layer) if _transformed() else _differentiable
        return transforms.mapped(run, info.batch_size, in_dims, call, results, sums=False)


class _LayerBackward(torch.autograd.Function):
    """``rnnfast::layer_backward`` where it is differentiated or under ``torch.func``.

    Its last argument says of which primals the gradient is wanted; the others get None. Output and reserve are what the
    forward pass made of the primals: the derivatives by the primals hold what goes through those two, which have none
    of their own.
    """

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor | None, ...]:
        *operands, needs = arguments
        gradients = _below_autograd(LAYER_BACKWARD.default, *operands)
        return tuple(each if need else None for each, need in zip(gradients, needs, strict=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        _remember(ctx, dict(zip((*_BACKWARD, "needs"), inputs, strict=True)))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        seeds = _present(transforms.PRIMALS, cotangents)
        if not seeds:
            return (None,) * len(ctx.call)
        by = [name for name, need in zip(ctx.call, ctx.needs_input_grad, strict=True) if need]
        names = [name for name in by if name not in ("output", "reserve")]
        found = transforms.pulled(_recall(ctx), names, seeds)
        return tuple(map(found.get, ctx.call))

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        call = _recall(ctx)
        along = _present(tuple(call), tangents)
        along = {name: each for name, each in along.items() if name not in ("output", "reserve")}
        wanted = [n for n, need in zip(transforms.PRIMALS, call["needs"], strict=True) if need]
        found = transforms.pushed(lambda call: transforms.gradients(call, wanted), call, along)
        return tuple(map(found.get, transforms.PRIMALS))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> Any:
        call = dict(zip((*_BACKWARD, "needs"), arguments, strict=True))
        results = tuple(f"grad_{name}" for name in transforms.PRIMALS)
        sums = any(call["needs"][transforms.PRIMALS.index("w_ih") :])
        differentiable = torch.is_grad_enabled() or _transformed()
        run = partial(_apply, _LayerBackward) if differentiable else _LayerBackward.forward
        return transforms.mapped(run, info.batch_size, in_dims, call, results, sums)


LAYER, LAYER_BACKWARD = torch.ops.rnnfast.layer, torch.ops.rnnfast.layer_backward
QUANTIZED_LAYER = torch.ops.rnnfast.quantized_layer
"""The operators themselves, for tools of torch that ask about them."""
