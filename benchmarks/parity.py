"""Whether two contenders computed the same: what has to hold before either is timed."""

from torch import Tensor

BOUND = 1e-4
"""Largest difference of a result, as a share of its largest magnitude: some ten times what float32 leaves here."""


class MismatchError(Exception):
    """A peer's result is not ours: nothing is reported."""


def check(
    case: object,
    peer: str,
    ours: dict[str, Tensor],
    theirs: dict[str, Tensor],
    bound: float = BOUND,
) -> float:
    """The largest difference of all results, each as a share of its largest magnitude.

    Raises:
        MismatchError: one is above the bound or not a number, or names or shapes of the results differ.
    """
    if ours.keys() != theirs.keys():
        raise MismatchError(f"{case}: {peer} must give {', '.join(ours)}, got: {', '.join(theirs)}")
    worst = 0.0
    for name, right in theirs.items():
        if ours[name].shape != right.shape:
            raise MismatchError(
                f"{case}: {name} of {peer} must have the shape {tuple(ours[name].shape)}, got: {tuple(right.shape)}"
            )
        error = float((ours[name] - right).abs().max() / right.abs().max().clamp(min=1e-30))
        if not error <= bound:  # so that NaN fails too
            raise MismatchError(
                f"{case}: {name} of rnnfast and of {peer} must differ by at most {bound:g} "
                f"of its largest magnitude, got: {error:.3g}"
            )
        worst = max(worst, error)
    return worst
