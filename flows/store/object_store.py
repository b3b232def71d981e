"""S3 that is asked again with growing waits. Arrow's own default for addresses asks every 0.2 s, for 6 s."""

from typing import Any

from pyarrow import fs

_ATTEMPTS = 6  # with waits of up to 1, 2, 4, 8 and 16 s, each cut by chance, so that not all come back at once


class PatientS3(fs.S3FileSystem):  # type: ignore[misc]
    """An S3 file system that bears some seconds of throttling, refusals and failures; also in another process."""

    def __init__(self, **options: Any) -> None:
        """Takes the options of `S3FileSystem` but for `retry_strategy`."""
        super().__init__(
            **options, retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # That of Arrow leaves the strategy out.
        return _like, (super().__reduce__()[1][0],)


def patient(system: fs.FileSystem) -> fs.FileSystem:
    """The same file system, where it is S3 as one that is asked again with growing waits."""
    return _like(system.__reduce__()[1][0]) if type(system) is fs.S3FileSystem else system


def _like(options: dict[str, Any]) -> PatientS3:
    return PatientS3(**options)
