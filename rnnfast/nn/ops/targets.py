"""The instruction sets of the CPU that the kernels are compiled for."""

import torch

import rnnfast._C  # noqa: F401  (registers the operators)


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
