"""ONNX Runtime: its RNN, GRU or LSTM operator, forward only; rows of different length by `sequence_lens`.

Its LSTM is there in int8 as well, by its dynamic quantization: weights per channel, what comes in as it comes.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from benchmarks.cases import Case, Data
from benchmarks.peers import Contender

ORDER = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}
"""ONNX's order of the gates (GRU: z, r, h; LSTM: i, o, f, c) in places of torch's (r, z, n; i, f, g, o)."""

OPSET, IR_VERSION = 22, 10  # the first opset with these operators as they are now


def version() -> str:
    return str(onnxruntime.__version__)


def takes(case: Case) -> bool:
    return not case.training


INT8_CELLS = ("LSTM",)
"""Those of its operators that its dynamic quantization knows."""


def prepare(case: Case, data: Data, *, int8: bool = False) -> Contender:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    # Threads wait actively within a call, and do not take the cores from whoever comes next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    model = _in_int8(graph(case, data)) if int8 else graph(case, data)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {"X": data.input.numpy()}
    if data.lengths is not None:
        feed["sequence_lens"] = data.lengths.numpy().astype(np.int32)

    def results(returned: list[Any]) -> dict[str, Tensor]:
        output, *last = map(torch.from_numpy, returned)  # (T, 1, N, H), (1, N, H)
        names = ("h_n", "c_n")[: len(last)]
        states = {name: state[0] for name, state in zip(names, last, strict=True)}
        return {"output": output[:, 0], **states}

    return Contender(lambda: session.run(None, feed), results)


def graph(case: Case, data: Data) -> Any:
    """A model of one operator, with the weights in it."""

    def reordered(weight: Tensor) -> Tensor:
        return torch.cat([weight.split(case.shape.hidden)[gate] for gate in ORDER[case.cell]])

    weights = {name: reordered(weight) for name, weight in data.weights.items()}
    constants = {
        "W": weights["w_ih"],
        "R": weights["w_hh"],
        "B": torch.cat([weights["b_ih"], weights["b_hh"]]),
    }
    steps, batch, _, hidden = case.shape
    outputs = {"Y": (steps, 1, batch, hidden), "Y_h": (1, batch, hidden)}
    if case.cell == "LSTM":
        outputs["Y_c"] = (1, batch, hidden)
    # Torch's form of the GRU.
    attributes: dict[str, Any] = {"linear_before_reset": 1} if case.cell == "GRU" else {}
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, case.shape[:3])]
    if case.packed:
        inputs.append(
            helper.make_tensor_value_info("sequence_lens", TensorProto.INT32, case.shape[1:2])
        )
    node = helper.make_node(
        case.cell,
        ["X", "W", "R", "B", "sequence_lens" if case.packed else ""],
        list(outputs),
        hidden_size=hidden,
        **attributes,
    )
    model = helper.make_model(
        helper.make_graph(
            [node],
            "layer",
            inputs,
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in outputs.items()
            ],
            [
                numpy_helper.from_array(constant.unsqueeze(0).numpy(), name)
                for name, constant in constants.items()
            ],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model)
    return model


def _in_int8(model: Any) -> Any:
    from onnxruntime.quantization import (  # imports much, and is rarely wanted
        QuantType,
        quantize_dynamic,
    )

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "layer.onnx")
        quantize_dynamic(model, path, per_channel=True, weight_type=QuantType.QInt8)
        found = onnx.load(path)
    operators = [node.op_type for node in found.graph.node]
    if "DynamicQuantizeLSTM" not in operators:  # else this would be float32 by another name
        raise ValueError(f"the quantized model must have DynamicQuantizeLSTM, got: {operators}")
    return found
