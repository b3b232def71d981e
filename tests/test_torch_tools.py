"""Tools of torch that walk, trace or change a model: with a layer of rnnfast they do what they do with torch's."""

import copy
import io
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import rnnfast

KINDS = ["RNN", "GRU", "LSTM"]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

Use = Callable[[nn.RNNBase, Tensor], Tensor]


class Holder(nn.Module):
    """A model that holds a layer."""

    def __init__(self, recurrent: nn.RNNBase) -> None:
        super().__init__()
        self.recurrent = recurrent

    def forward(self, x: Tensor) -> Tensor:
        return self.recurrent(x)[0]


def pruned(layer: nn.RNNBase, x: Tensor) -> Tensor:
    prune.l1_unstructured(layer, "weight_hh_l0", 0.5)
    output = layer(x)[0]
    prune.remove(layer, "weight_hh_l0")
    assert (layer.weight_hh_l0 == 0).sum() == layer.weight_hh_l0.numel() // 2
    assert torch.equal(layer(x)[0], output)
    return output


def changed(change: Callable[..., Any], **options: Any) -> Use:
    """A use that changes how a weight is made."""

    def use(layer: nn.RNNBase, x: Tensor) -> Tensor:
        change(layer, "weight_hh_l0", **options)
        return layer.eval()(x)[0]

    return use


def checkpointed(reentrant: bool) -> Use:
    def use(layer: nn.RNNBase, x: Tensor) -> Tensor:
        x.requires_grad_()
        checkpoint(lambda x: layer(x)[0], x, use_reentrant=reentrant).square().sum().backward()
        return torch.cat([x.grad.flatten(), layer.weight_hh_l1.grad.flatten()])

    return use


def as_a_vector(layer: nn.RNNBase, x: Tensor) -> Tensor:
    vector = nn.utils.parameters_to_vector(layer.parameters())
    nn.utils.vector_to_parameters(vector / 2, layer.parameters())
    return layer(x)[0]


def averaged(layer: nn.RNNBase, x: Tensor) -> Tensor:
    average = torch.optim.swa_utils.AveragedModel(layer)
    average.update_parameters(layer)
    with torch.no_grad():
        layer.weight_hh_l0.mul_(2)
    average.update_parameters(layer)
    return average(x)[0]


def emptied(layer: nn.RNNBase, x: Tensor) -> Tensor:
    other = copy.deepcopy(layer).to("meta").to_empty(device="cpu")
    other.load_state_dict(layer.state_dict())
    return other(x)[0]


def assigned(layer: nn.RNNBase, x: Tensor) -> Tensor:
    with torch.device("meta"):
        other = type(layer)(3, 4, 2)
    other.load_state_dict(layer.state_dict(), assign=True)
    return other(x)[0]


def packaged(layer: nn.RNNBase, x: Tensor) -> Tensor:
    file = io.BytesIO()
    with torch.package.PackageExporter(file) as exporter:
        exporter.extern("rnnfast.**")
        exporter.save_pickle("model", "model.pkl", layer)
    file.seek(0)
    return torch.package.PackageImporter(file).load_pickle("model", "model.pkl")(x)[0]


def saved(layer: nn.RNNBase, x: Tensor) -> Tensor:
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)(x)[0]


def stateless(layer: nn.RNNBase, x: Tensor) -> Tensor:
    doubled = {name: 2 * weight for name, weight in layer.named_parameters()}
    return nn.utils.stateless.functional_call(layer, doubled, (x,))[0]


def differentiated(layer: nn.RNNBase, x: Tensor) -> Tensor:
    def loss(weights: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(layer, weights, (x,))[0].square().sum()

    return torch.func.grad(loss)(dict(layer.named_parameters()))["weight_hh_l0"]


def quantized(root: bool, **options: Any) -> Use:
    def use(layer: nn.RNNBase, x: Tensor) -> Tensor:
        model = layer if root else Holder(layer)
        kind = type(layer)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = torch.ao.quantization.quantize_dynamic(model, **options)
        assert type(layer) is kind, "the model that was given stays as it is"
        found = made if root else made.recurrent
        # Torch swaps children, so a layer by itself is never quantized, and it has no quantized RNN.
        if not root and layer.mode in ("GRU", "LSTM"):
            assert type(found).__module__.startswith("torch.ao.nn.quantized.dynamic")
        return found(x)[0]

    return use


def sharded(layer: nn.RNNBase, x: Tensor) -> Tensor:
    from torch.distributed.fsdp import fully_shard

    return fully_shard(Holder(layer))(x)


USES: dict[str, Use] = {
    "prune": pruned,
    "weight_norm": changed(parametrizations.weight_norm),
    "spectral_norm": changed(parametrizations.spectral_norm),
    "orthogonal": changed(parametrizations.orthogonal),
    "weight_norm of before": changed(nn.utils.weight_norm),
    "spectral_norm of before": changed(nn.utils.spectral_norm),
    "checkpoint": checkpointed(reentrant=False),
    "reentrant checkpoint": checkpointed(reentrant=True),
    "parameters_to_vector": as_a_vector,
    "AveragedModel": averaged,
    "share_memory": lambda layer, x: layer.share_memory()(x)[0],
    "to_empty": emptied,
    "meta": assigned,
    "package": packaged,
    "save": saved,
    "pickle": lambda layer, x: pickle.loads(pickle.dumps(layer))(x)[0],
    "deepcopy": lambda layer, x: copy.deepcopy(layer)(x)[0],
    "stateless": stateless,
    "func": differentiated,
    "quantize_dynamic": quantized(root=False),
    "quantize_dynamic of the layer": quantized(root=True, qconfig_spec={nn.LSTM, nn.GRU}),
    "quantize_dynamic to float16": quantized(root=False, dtype=torch.float16),
    "DataParallel": lambda layer, x: nn.DataParallel(layer)(x)[0],
    "export": lambda layer, x: torch.export.export(Holder(layer), (x,)).module()(x),
    "script": lambda layer, x: torch.jit.script(Holder(layer))(x),
    "symbolic_trace": lambda layer, x: torch.fx.symbolic_trace(Holder(layer))(x),
    "DistributedDataParallel": lambda layer, x: nn.parallel.DistributedDataParallel(layer)(x)[0],
    "fully_shard": sharded,
}


@pytest.fixture
def alone() -> Iterator[None]:
    """A process group of one process."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("accelerated", [True, False], ids=["accelerated", "constructed"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use", USES)
def test_it_does_what_it_does_with_torchs_layer(
    use: str, kind: str, accelerated: bool, request: pytest.FixtureRequest
) -> None:
    if use in ("DistributedDataParallel", "fully_shard"):
        request.getfixturevalue("alone")
    theirs = getattr(nn, kind)(3, 4, 2)
    if accelerated:
        ours = copy.deepcopy(theirs)
        rnnfast.accelerate(ours)
    else:
        ours = getattr(rnnfast, kind)(3, 4, 2)
        ours.load_state_dict(theirs.state_dict())
    assert type(ours) is getattr(rnnfast, kind)
    x, results = torch.randn(5, 2, 3), []
    for layer in (theirs, ours):
        torch.manual_seed(1)
        results.append(USES[use](layer, x.clone()))
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize("kind", KINDS)
def test_fx_has_a_layer_as_one_node(kind: str) -> None:
    class Model(nn.Module):
        def __init__(self, recurrent: nn.RNNBase) -> None:
            super().__init__()
            self.stages = nn.ModuleList([nn.Linear(3, 3), recurrent])

        def forward(self, x: Tensor, h: Any, lengths: Any = None) -> Any:
            first = self.stages[1](self.stages[0](x))
            if lengths is None:
                return first, self.stages[1](x, h)
            return first, self.stages[1](x, h, lengths)

    theirs, ours = (Model(getattr(package, kind)(3, 4)) for package in (nn, rnnfast))
    ours.load_state_dict(theirs.state_dict())
    none = {"lengths": None}
    traced = [torch.fx.symbolic_trace(model, concrete_args=none) for model in (theirs, ours)]
    nodes = [[(n.op, n.target, str(n.args)) for n in each.graph.nodes] for each in traced]
    assert nodes[0] == nodes[1]
    assert traced[1].get_submodule("stages.1") is ours.stages[1]
    x, h = torch.randn(5, 2, 3), torch.randn(1, 2, 4)
    state: Any = (h, torch.randn(1, 2, 4)) if kind == "LSTM" else h
    found, expected = (each(x, state, None)[1][0] for each in traced)
    torch.testing.assert_close(found, expected)
    with_lengths = torch.fx.symbolic_trace(ours)
    lengths = torch.tensor([5, 2])
    assert torch.equal(with_lengths(x, state, lengths)[1][0], ours(x, state, lengths)[1][0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("traced", ["state", "lengths"])
def test_fx_has_a_node_for_a_layer_whose_input_is_constant(kind: str, traced: str) -> None:
    start = torch.randn(5, 2, 3)

    class Model(nn.Module):
        def __init__(self, recurrent: nn.RNNBase) -> None:
            super().__init__()
            self.recurrent = recurrent

        def forward(self, x: Any) -> Any:
            if traced == "lengths":
                return self.recurrent(start, None, x)[0]
            return self.recurrent(start, (x, x + 1) if kind == "LSTM" else x)[0]

    model = Model(getattr(rnnfast, kind)(3, 4))
    x = torch.tensor([5, 2]) if traced == "lengths" else torch.randn(1, 2, 4)
    graph = torch.fx.symbolic_trace(model)
    assert [n.target for n in graph.graph.nodes if n.op == "call_module"] == ["recurrent"]
    assert torch.equal(graph(x), model(x))


@pytest.mark.parametrize("kind", KINDS)
def test_fx_refuses_a_layer_by_itself(kind: str) -> None:
    with pytest.raises(Exception, match="symbolically traced"):
        torch.fx.symbolic_trace(getattr(nn, kind)(3, 4))
    with pytest.raises(NotImplementedError, match="a model that holds a layer"):
        torch.fx.symbolic_trace(getattr(rnnfast, kind)(3, 4))


@pytest.mark.parametrize("kind", KINDS)
def test_script_says_that_it_takes_torchs_layer(kind: str) -> None:
    model = Holder(getattr(rnnfast, kind)(3, 4))
    x = torch.randn(5, 2, 3)
    expected, weight = model(x), model.recurrent.weight_hh_l0
    with pytest.warns(UserWarning, match=f"torch.nn.{kind} in the place of rnnfast.{kind}"):
        scripted = torch.jit.script(model)
    torch.testing.assert_close(scripted(x), expected)
    file = io.BytesIO()
    torch.jit.save(scripted, file)
    file.seek(0)
    torch.testing.assert_close(torch.jit.load(file)(x), expected)
    assert rnnfast.accelerate(model).swapped == ("recurrent",)
    assert model.recurrent.weight_hh_l0 is weight


def test_script_refuses_what_was_derived_from_a_layer() -> None:
    class Mine(rnnfast.GRU):
        pass

    with pytest.raises(RuntimeError, match=r"cannot compile .*Mine.* derive it from .* torch\.nn"):
        torch.jit.script(Holder(Mine(3, 4)))


def flops(layer: nn.RNNBase, x: Any, *others: Any) -> tuple[int, int]:
    """Forward, and with the backward pass."""
    with FlopCounterMode(display=False) as counter:
        output = layer(x, *others)[0]
        forward = counter.get_total_flops()
        (output if isinstance(output, Tensor) else output.data).sum().backward()
    return forward, counter.get_total_flops()


LENGTHS = [5, 3, 3, 2, 1, 1]


@pytest.mark.parametrize("kind", [*KINDS, "projection"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "bias": False}])
@pytest.mark.parametrize("by", ["input", "state", "packed", "frozen"])
def test_operations_are_counted_as_of_torchs_layer(kind: str, options: dict, by: str) -> None:
    if kind == "projection":
        kind, options = "LSTM", {**options, "proj_size": 2}
    # In float64, since torch counts nothing where a library of its own has the whole layer.
    theirs, ours = (getattr(p, kind)(3, 4, dtype=torch.float64, **options) for p in (nn, rnnfast))
    found = []
    for layer in (theirs, ours):
        x: Any = torch.randn(5, 6, 3, dtype=torch.float64, requires_grad=by in ("input", "frozen"))
        others = []
        if by == "state":
            places = layer.num_layers * (1 + layer.bidirectional)
            widths = [layer.proj_size or 4, *([4] if kind == "LSTM" else [])]
            state = tuple(
                torch.zeros(places, 6, w, dtype=x.dtype, requires_grad=True) for w in widths
            )
            others = [state if kind == "LSTM" else state[0]]
        if by == "packed":
            x = pack_padded_sequence(x, torch.tensor(LENGTHS))
        if by == "frozen":
            layer.requires_grad_(False)
        found.append(flops(layer, x, *others))
    assert found[0] == found[1]
    if not options and by == "input":
        gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]
        by_input, by_state = 2 * 5 * 6 * gates * 4 * 3, 2 * 5 * 6 * gates * 4 * 4
        back = 2 * by_input + by_state + by_state * 4 // 5
        assert found[1] == (by_input + by_state, by_input + by_state + back)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_not_counted(kind: str) -> None:
    layer = getattr(rnnfast, kind)(3, 4)
    x, lengths = torch.randn(5, 6, 3), torch.tensor(LENGTHS)
    packed = flops(layer, pack_padded_sequence(x, lengths))
    assert flops(layer, x, None, lengths) == packed
    assert packed[0] * 30 == flops(layer, x)[0] * sum(LENGTHS)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_quantization_by_graph_gives_what_it_gives_with_torchs_layer() -> None:
    from torch.ao.quantization import QConfigMapping, default_dynamic_qconfig, quantize_fx

    theirs = Holder(nn.LSTM(3, 4)).eval()
    ours = copy.deepcopy(theirs)
    rnnfast.accelerate(ours)
    x = torch.randn(5, 2, 3)
    wanted = QConfigMapping().set_object_type(nn.LSTM, default_dynamic_qconfig)
    made = [
        quantize_fx.convert_fx(quantize_fx.prepare_fx(model, wanted, (x,)))
        for model in (theirs, ours)
    ]
    assert type(made[1].recurrent) is type(made[0].recurrent)
    assert type(made[1].recurrent) is torch.ao.nn.quantized.dynamic.LSTM
    assert torch.equal(made[1](x), made[0](x))


def test_static_quantization_prepares_torchs_layer() -> None:
    model = Holder(rnnfast.LSTM(3, 4))
    model.qconfig = torch.ao.quantization.get_default_qconfig("x86")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepared = torch.ao.quantization.prepare(model)
    assert type(prepared.recurrent) is torch.ao.nn.quantizable.LSTM
    assert type(model.recurrent) is rnnfast.LSTM


def test_without_values_a_layer_can_be_made_and_filled() -> None:
    """torch.nn.LSTM itself cannot: skip_init wants to see an argument ``device``."""
    layer = nn.utils.skip_init(rnnfast.LSTM, 3, 4)
    source = nn.LSTM(3, 4)
    layer.load_state_dict(source.state_dict())
    x = torch.randn(5, 2, 3)
    torch.testing.assert_close(layer(x)[0], source(x)[0])


def test_tools_that_were_imported_before_are_prepared_as_well() -> None:
    program = """
import torch, torch._dynamo, torch.onnx, torch.onnx._internal.exporter._core
from torch.utils.flop_counter import FlopCounterMode, flop_registry
import rnnfast
layer = rnnfast.LSTM(3, 4)
x = torch.randn(5, 2, 3)
assert torch.equal(torch.compile(layer, fullgraph=True, backend="eager")(x)[0], layer(x)[0])
with FlopCounterMode(display=False) as counter:
    layer(x)
print(counter.get_total_flops())
"""
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == str(2 * 5 * 2 * 16 * 7), done.stderr
