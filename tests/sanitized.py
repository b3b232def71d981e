"""A short run of every kernel on a GPU, for compute-sanitizer to watch: `make sanitize-cuda`; --short is a part of it.

Memory is not filled before, as the tests do it, so that initcheck sees what nobody has written.
"""

import itertools
import sys

import torch
from test_cuda import CASES, DTYPES, GPU, KINDS, check_against_the_reference

SIZES = ((3, 5, 7, 13), (4, 18, 3, 65), (2, 16, 40, 200), (2, 3, 8, 600))
"""Time steps, batch, input, hidden: in one block, in several, and what they cannot hold."""


def main() -> None:
    if not GPU:
        sys.exit("sanitize-cuda needs an NVIDIA GPU, and rnnfast built for it")
    done = 0
    short = "--short" in sys.argv[1:]
    # Each way of laying out a sweep, in the dtypes that have kernels of their own.
    dtypes = (torch.float32, torch.bfloat16) if short else DTYPES
    for sizes, (cell, projection), dtype in itertools.product(SIZES, CASES, dtypes):
        torch.manual_seed(done)
        kind = list(KINDS)[done % len(KINDS)]
        check_against_the_reference(
            torch.device("cuda"),
            cell,
            sizes,
            dtype,
            projection=projection,
            recompute=done % 2 == 1,
            **KINDS[kind],
        )
        done += 1
    print(f"{done} calls, forward and backward, are those of the reference")


if __name__ == "__main__":
    main()
