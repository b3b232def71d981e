"""A layer as operators of ONNX: RNN, GRU or LSTM, one for each layer and direction.

Torch has two exporters, which trace a model in two ways and make nodes in two ways; what they make is the same.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from rnnfast.nn import ops, transforms

Node = Callable[..., Any]
"""Makes a node: its operator, its inputs, ``outputs`` (how many) and its attributes by name. A tensor is a constant."""

_OPERATORS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "rnn_tanh": ("RNN", (0,), {"activations": ["Tanh"]}),
    "rnn_relu": ("RNN", (0,), {"activations": ["Relu"]}),
    "gru": ("GRU", (1, 0, 2), {"linear_before_reset": 1}),
    "lstm": ("LSTM", (0, 3, 1, 2), {}),
}
"""For each cell its operator, the place in torch's order of each of ONNX's gates, and attributes."""

_ARGUMENTS = len((*transforms.PRIMALS, *transforms.OPTIONS))
"""How many arguments of the operator, behind the cell, say what it computes; the others are for training and GPUs."""

_W_IH = transforms.PRIMALS.index("w_ih")

_INT32 = 6
"""The number of that type in ONNX."""


def _layer(
    node: Node,
    rows: int,
    cell: int,
    input: Any,
    h0: Any,
    c0: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any,
    b_hh: Any,
    w_hr: Any,
    lengths: Any,
    batch_sizes: Any,
    batch_first: bool,
    reverse: bool,
) -> tuple[Any, Any, Any, Any]:
    """The nodes of a call of ``rnnfast::layer``, whose weights have so many ``rows``; its four outputs."""
    if w_hr is not None:
        raise NotImplementedError(
            "rnnfast: ONNX has no LSTM with a projection: export a model with proj_size=0"
        )
    if batch_sizes is not None:
        raise NotImplementedError(
            "rnnfast: a PackedSequence has no counterpart in ONNX: give the layer padded rows and lengths="
        )
    operator, gates, attributes = _OPERATORS[tuple(ops.CELLS)[cell]]
    hidden = rows // len(gates)
    order = torch.cat([torch.arange(gate * hidden, (gate + 1) * hidden) for gate in gates])

    def shaped(x: Any, *shape: int) -> Any:
        return node("Reshape", x, torch.tensor(shape))

    def stacked(*parts: Any) -> Any:
        """The gates of weights in ONNX's order, the parts one after another, with a dimension for the direction."""
        parts = tuple(node("Gather", part, order, axis=0) for part in parts)
        whole = parts[0] if len(parts) == 1 else node("Concat", *parts, axis=0)
        return node("Unsqueeze", whole, torch.tensor([0]))

    y, h_n, *c_n = node(
        operator,
        node("Transpose", input, perm=[1, 0, 2]) if batch_first else input,
        stacked(w_ih),
        stacked(w_hh),
        None if b_ih is None else stacked(b_ih, b_hh),
        None if lengths is None else node("Cast", lengths, to=_INT32),
        shaped(h0, 1, -1, hidden),
        *(() if c0 is None else (shaped(c0, 1, -1, hidden),)),
        outputs=2 if c0 is None else 3,
        hidden_size=hidden,
        direction="reverse" if reverse else "forward",
        **attributes,
    )
    # (T, 1, N, H): the dimension of the direction goes behind the others, and then away.
    y = node("Transpose", y, perm=[2, 0, 1, 3] if batch_first else [0, 2, 1, 3])
    last = shaped(h_n, -1, hidden)
    # What nobody reads: the cell state of a layer that has none, and what training would keep.
    cell_state = shaped(c_n[0], -1, hidden) if c_n else last
    return shaped(y, 0, 0, -1), last, cell_state, last


def register_traced(onnx: ModuleType) -> None:
    """For ``torch.onnx.export(..., dynamo=False)``, which works on what ``torch.jit.trace`` finds."""

    def symbolic(g: Any, cell: Any, *arguments: Any) -> tuple[Any, ...]:
        def value(x: Any) -> Any:
            if x is None:
                absent = g.op("prim::Constant")
                absent.setType(torch._C.OptionalType.ofTensor())
                return absent
            return g.op("Constant", value_t=x) if isinstance(x, Tensor) else x

        def node(name: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
            typed = {f"{key}_{_kind(each)}": each for key, each in attributes.items()}
            return g.op(name, *map(value, inputs), outputs=outputs, **typed)

        def number(x: Any) -> int:
            return int(x.node().t("value"))

        *tensors, batch_first, reverse = arguments[:_ARGUMENTS]
        rows = tensors[_W_IH].type().sizes()[0]
        given: list[Any] = [None if each.node().mustBeNone() else each for each in tensors]
        flags = {"batch_first": bool(number(batch_first)), "reverse": bool(number(reverse))}
        return _layer(node, rows, number(cell), *given, **flags)

    onnx.register_custom_op_symbolic("rnnfast::layer", symbolic, 13)


def register_exported(registration: ModuleType) -> None:
    """For ``torch.onnx.export(..., dynamo=True)``, which works on what ``torch.export`` finds."""

    @registration._torchlib_registry.onnx_impl(ops.LAYER.default, no_compile=True)
    def translation(cell: int, *arguments: Any, **options: Any) -> tuple[Any, ...]:
        from onnxscript import ir
        from torch.onnx._internal.exporter._torchlib.ops.hop import call_op

        def value(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            return call_op("Constant", value=ir.tensor(x.numpy()))[0]

        def node(name: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
            made = call_op(name, *map(value, inputs), _num_outputs=outputs, **attributes)
            return made if outputs > 1 else made[0]

        given = arguments[:_ARGUMENTS]
        return _layer(node, given[_W_IH].shape[0], cell, *given)


def _kind(attribute: Any) -> str:
    """How torch's older exporter is told the type of an attribute: by a letter behind its name."""
    first = attribute[0] if isinstance(attribute, list) else attribute
    return "s" if isinstance(first, str) else "i"
