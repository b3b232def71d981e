"""Each instruction set: the forced one is the one that runs, and it is right; one that is not there is an error."""

import os
import subprocess
import sys

import pytest

import rnnfast

PROGRAM = """
import torch, rnnfast
from rnnfast.nn import ops
torch.manual_seed(0)
worst = 0.0
for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
    for steps, batch, inputs, hidden in ((5, 7, 3, 63), (4, 100, 17, 33), (6, 1, 65, 130), (3, 5, 1, 1)):
        for cell in ("tanh", "relu"):
            theirs = torch.nn.RNN(inputs, hidden, 2, cell, bidirectional=True, dtype=dtype)
            ours = rnnfast.RNN(inputs, hidden, 2, cell, bidirectional=True, dtype=dtype)
            ours.load_state_dict(theirs.state_dict())
            x = torch.randn(steps, batch, inputs, dtype=dtype, requires_grad=True)
            results = []
            for layer in (ours, theirs):
                y, h = layer(x)
                results.append([y, h, *torch.autograd.grad((y, h), (x, *layer.parameters()), (y, h))])
            for mine, right in zip(*results):
                error = ((mine - right).abs().max() / right.abs().max().clamp(min=1)).item()
                assert error < tolerance, (cell, dtype, steps, batch, inputs, hidden, error)
ran = ops.cpu_target_ran()
rnnfast.RNN(3, 4, dtype=torch.bfloat16)(torch.randn(2, 9, 3, dtype=torch.bfloat16))
narrow = ops.cpu_target_ran()
layer = rnnfast.RNN(3, 4).eval()
rnnfast.quantize(layer)
layer(torch.randn(2, 9, 3))
print(ops.cpu_target(), ran, narrow, ops.cpu_target_ran())
"""

BASES = {
    **dict.fromkeys(("amx", "avx512_bf16", "avx512_vnni"), "avx512"),
    "avx_vnni": "avx2",
    "neon_dotprod": "neon",
    "amx_emulated": "generic",
}
"""What computes float32 and float64 where a target is one for bfloat16 or int8."""

FOR_INT8 = ("avx512_vnni", "avx_vnni", "neon_dotprod")
"""Targets for int8 alone."""


def expected(target: str) -> list[str]:
    """The target, and what computes float32, bfloat16 and int8 then."""
    base = BASES.get(target, target)
    narrow = base if target in FOR_INT8 else target
    return [target, base, narrow, "avx512_vnni" if target == "avx512_bf16" else target]


def run(target: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RNNFAST_CPU_TARGET": target}
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    "target",
    [
        *("amx", "avx512_bf16", "avx512_vnni", "avx512", "avx_vnni", "avx2"),
        *("neon_dotprod", "neon", "generic", "amx_emulated"),
    ],
)
def test_a_forced_target_is_the_one_that_runs(target: str) -> None:
    if target not in rnnfast.cpu_targets():
        pytest.skip(f"this machine has no {target}")
    result = run(target)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == expected(target)


def test_the_first_available_target_is_the_default() -> None:
    result = run("")
    assert result.returncode == 0, result.stderr
    first = rnnfast.cpu_targets()[0]
    assert result.stdout.split() == expected(first)


def test_a_target_that_is_not_there_is_an_error_with_the_names_of_those_that_are() -> None:
    result = run("avx1024")
    assert result.returncode != 0
    assert (
        f"targets that this machine has ({', '.join(rnnfast.cpu_targets())}), got: avx1024"
        in result.stderr
    )
