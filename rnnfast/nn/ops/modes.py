"""What torch is doing around a call: whether it traces or transforms."""

from typing import Any

import torch
from torch.autograd import forward_ad


def is_transformed() -> bool:
    """Whether torch.func or differentiation forward is at work: neither sees the registered formula."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def is_traced() -> bool:
    """Whether torch's compiler, exporter or tracer is at work."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """Calls a function that has rules for torch.func."""
    # torch.compile cannot trace the rules of torch.func. At this it breaks its graph, or with fullgraph says so.
    if torch.compiler.is_compiling():
        raise NotImplementedError("rnnfast: torch.func must stay outside of torch.compile")
    return function.apply(*arguments)
