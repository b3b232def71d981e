"""What a module of rnnfast does in the place of one of torch's, whichever it is."""

import warnings
from typing import Any

from torch import nn
from torch.fx import Proxy

_TORCH = (nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell)


class StandIn(nn.Module):
    """A module that is of torch's class as well, the last of its bases: ``class GRU(Recurrent, nn.GRU)``."""

    _frozen: Any = None
    """The packed weights, where :func:`rnnfast.freeze` made them."""

    def __prepare_scriptable__(self) -> nn.Module:
        """What ``torch.jit.script``, which reads Python, compiles instead: torch's module with the same parameters."""
        bases = type(self).__bases__
        theirs: type[nn.Module] = bases[-1]
        if len(bases) != 2 or theirs not in _TORCH:
            raise RuntimeError(
                f"torch.jit.script cannot compile {type(self).__qualname__}, a subclass of a layer of rnnfast: "
                "derive it from the layer of torch.nn, or use torch.export"
            )
        warnings.warn(
            f"torch.jit.script compiles torch.nn.{theirs.__name__} in the place of "
            f"rnnfast.{theirs.__name__}, and leaves it in the model: "
            "call rnnfast.accelerate(model) to go on in Python",
            stacklevel=2,
        )
        twin = theirs.__new__(theirs)
        twin.__dict__.update(self.__dict__)
        twin.__dict__.pop("_frozen", None)
        return twin

    def _as_leaf(self, input: Any, *others: Any) -> Any:
        """The call as one node of the graph that ``torch.fx`` traces, as it does with torch's modules."""
        while others and others[-1] is None:
            others = others[:-1]
        values = (input, *others, *(others[0] if others and isinstance(others[0], tuple) else ()))
        tracer: Any = next(each.tracer for each in values if isinstance(each, Proxy))
        if tracer.root is self:
            raise NotImplementedError(
                "rnnfast: torch.fx traces a model that holds a layer, not a layer by itself"
            )
        path = tracer.path_of_module(self)
        return tracer.create_proxy("call_module", path, (input, *others), {})
