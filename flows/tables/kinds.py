"""Which of Arrow's types are text, and text as bytes: it may be no UTF-8, which Arrow does not check."""

import pyarrow as pa


def value_type(type_: pa.DataType) -> pa.DataType:
    """The type itself, or that of what a dictionary holds."""
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def as_bytes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts, or what can be written as such, in bytes."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return (column if is_text(column.type) else column.cast(pa.string())).cast(pa.binary())


def is_text(type_: pa.DataType) -> bool:
    """Whether a type is text in any of Arrow's variants, or bytes, as which many a writer leaves text."""
    types = pa.types
    is_string = types.is_string(type_) or types.is_large_string(type_)
    return is_string or types.is_string_view(type_) or is_binary(type_)


def is_binary(type_: pa.DataType) -> bool:
    """Whether a type is bytes."""
    types = pa.types
    is_plain = types.is_binary(type_) or types.is_large_binary(type_)
    return bool(is_plain or types.is_binary_view(type_) or types.is_fixed_size_binary(type_))
