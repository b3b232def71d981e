"""What may be said of how files are read; all that is not said is found from each file."""

import codecs
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

_NAMED = {"tab": "\t", r"\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_BACKSLASH = {"backslash": "\\", r"\\": "\\"}


def _sign(value: object) -> object:
    """A sign by its name, as a shell lets one write it."""
    return _NAMED.get(value, value) if isinstance(value, str) else value


def _one(value: str) -> str:
    if len(value) != 1 or not value.isascii() or value in "\r\n\0" or value.isalnum():
        raise PydanticCustomError(
            "sign",
            "must be one ASCII character that is no letter, digit or line end, or one of {names}",
            {"names": ", ".join(name for name in _NAMED if name.isalpha())},
        )
    return value


def _quote(value: str) -> str:
    return "" if value == "none" else _one(value)


def _escape(value: str) -> str:
    return "" if value == "none" else _one(_BACKSLASH.get(value, value))


def _decimal(value: str) -> str:
    if value not in (".", ","):
        raise PydanticCustomError("decimal", "must be . or ,")
    return value


def _texts(value: object) -> object:
    """Texts as the command line has them, parted by commas."""
    return tuple(value.split(",")) if isinstance(value, str) else value


def _known(value: str) -> str:
    try:
        return codecs.lookup(value).name
    except (LookupError, ValueError):
        raise PydanticCustomError(
            "encoding", "must be an encoding such as utf-8, utf-16, latin-1 or cp1252"
        ) from None


class FileOptions(BaseModel):
    """How files of text are read, as far as it is not to be found from each file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    separator: Annotated[str, BeforeValidator(_sign), AfterValidator(_one)] | None = Field(
        None, description="What separates the fields of CSV: one character, or tab."
    )
    encoding: Annotated[str, AfterValidator(_known)] | None = Field(
        None, description="The encoding of text files, such as utf-16 or cp1252."
    )
    quote: Annotated[str, AfterValidator(_quote)] | None = Field(
        None, description="What stands around the fields of CSV: one character, or none."
    )
    escape: Annotated[str, AfterValidator(_escape)] | None = Field(
        None,
        description="What stands before a quote within quotes: backslash, or none where the quote is doubled.",
    )
    decimal: Annotated[str, AfterValidator(_decimal)] | None = Field(
        None, description="The decimal mark of numbers in CSV: a point or a comma."
    )
    missing: Annotated[tuple[str, ...], BeforeValidator(_texts)] = Field(
        (),
        description="More texts that mean a missing number, parted by commas, beside NA, null, - and the like.",
    )
    header: bool = Field(True, description="Whether the first row of CSV has the columns' names.")

    @property
    def given(self) -> dict[str, object]:
        """Those that were given."""
        return self.model_dump(exclude_defaults=True)


FOUND = FileOptions()
