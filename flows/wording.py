"""Values as people read them."""


def size(count: int) -> str:
    """So many bytes."""
    value, unit = float(count), "bytes"
    for larger in ("KB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """So many things, such as "1 row" and "2,000 rows"; the plural is with an s, unless another one is given."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
