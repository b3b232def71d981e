"""Where the work of a job is done: in this process, in processes of this machine, or on a Ray cluster.

An executor knows nothing of what it runs. It is given a `Work`, which every worker starts once, and items, of which
it takes only as many as its workers have room for. An item whose worker dies is given to another one, so that what is
done with an item must come out the same when it is done twice. To add one: a file beside this one with a `run` as
`base.Executor` has it, for which `crew.shared_out` keeps account of the items, and its line in `executor`.
"""

from flows.errors import InputError
from flows.executors.base import AHEAD, DEATHS, THREADS, Engine, Executor, Work, cores

__all__ = ["AHEAD", "DEATHS", "Engine", "Executor", "Work", "cores", "executor", "usual_workers"]


def usual_workers() -> int:
    """How many processes of this machine work where nobody says how many.

    Their threads share the cores. Up to `THREADS` of them go nearly as far in one process as in several, which has the
    libraries and the model in memory once; with more, what a process does in one thread would hold them up.
    """
    return max(1, cores() // THREADS)


def executor(
    engine: Engine, workers: int | None, address: str | None = None, gpus: float = 0
) -> Executor:
    """The executor of that name.

    Args:
        engine: local or ray.
        workers: how many; None: as `usual_workers` says, or one for each CPU of the cluster.
        address: of a Ray cluster; None starts one on this machine.
        gpus: of each of Ray's workers.

    Raises:
        InputError: an argument that the engine has no use for, or Ray is not installed.
    """
    if workers is not None and workers < 1:
        raise InputError(f"--workers must be at least 1, got: {workers}")
    if engine == "ray":
        # Needed by this engine alone, and slow to import.
        from flows.executors.on_ray import OnRay

        return OnRay(workers, address, gpus)
    for name, value in (("address", address), ("gpus", gpus)):
        if value:
            raise InputError(f"--{name} must go with --engine ray, got: {value} for {engine}")
    from flows.executors.local import InProcess, WorkerProcesses

    count = workers or usual_workers()
    return WorkerProcesses(count) if count > 1 else InProcess()
