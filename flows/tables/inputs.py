"""The files that an address names, and as what each is read where its name alone does not tell."""

from dataclasses import replace

from pyarrow import fs

from flows.errors import InputError
from flows.store.file_options import FOUND, FileOptions
from flows.store.storage import File, common_folder, find, located
from flows.tables.dialect import find_encoding, is_table
from flows.tables.heads import encoding_of, kind_of, read_head
from flows.tables.unfolded import json_lines, text_folder, unpacked_xz, zip_members

_REFUSED = {
    "xlsx": "save the sheet as CSV",
    "xls": "save the sheet as CSV",
    "ods": "save the sheet as CSV",
    "arrow": "write it as Parquet: pyarrow.parquet.write_table(pyarrow.feather.read_table(FILE), 'a.parquet')",
    "feather": "write it as Parquet: pyarrow.parquet.write_table(pyarrow.feather.read_table(FILE), 'a.parquet')",
    "orc": "write it as Parquet: pyarrow.parquet.write_table(pyarrow.orc.read_table(FILE), 'a.parquet')",
    "tar": "unpack it, and name the folder",
    "tgz": "unpack it, and name the folder",
    "7z": "unpack it, and name the folder",
}
_UNFOLDED = ("zip", "xz")


def find_files(
    pattern: str,
    argument: str,
    kinds: tuple[str, ...],
    options: FileOptions = FOUND,
    *,
    may_be_none: bool = False,
) -> list[File]:
    """The files that an address names, as `flows.store.storage.find` has them, each as it is to be read.

    Also those in a zip file; a file whose name does not tell its kind, if it is named or there are no others; and as
    one file texts that are each a `.txt` of their own, in the folder of their class.

    Args:
        pattern: the address.
        argument: what the command line calls it.
        kinds: what the files may be.
        options: how they are read.
        may_be_none: see `flows.store.storage.find`.

    Raises:
        InputError: there is none, or one that is named cannot be read as one of the `kinds`.
    """
    there = [replace(f, options=options) for f in find(pattern, argument, None, may_be_none=True)]
    system, path = located(pattern, argument)
    chosen = there
    if there and system.get_file_info(path).type == fs.FileType.Directory:
        known = (*kinds, *_UNFOLDED, *(["json"] if "jsonl" in kinds else []))
        chosen = [file for file in there if file.kind in known]
        if not chosen:
            texts = [file for file in there if file.kind == "txt"]
            chosen = texts or [file for file in there if file.kind == ""]
    if "jsonl" in kinds and len(chosen) > 1 and all(file.kind == "txt" for file in chosen):
        folder = common_folder(chosen)
        return [text_folder(chosen, folder)]
    found = [each for file in chosen for each in _unfolded(file, argument, kinds)]
    # For its errors, too.
    return found or find(pattern, argument, kinds, may_be_none=may_be_none)


def _unfolded(file: File, argument: str, kinds: tuple[str, ...]) -> list[File]:
    """The files that a file stands for."""
    if file.kind in kinds:
        return [file]
    if file.kind == "zip":
        return [each for member in zip_members(file) for each in _unfolded(member, argument, kinds)]
    if file.kind == "xz":
        return _unfolded(unpacked_xz(file), argument, kinds)
    if file.kind in _REFUSED:
        raise InputError(
            f"{argument} must name {_listing(kinds)} files, got {str(file)!r}: {_REFUSED[file.kind]}"
        )
    form = kind_of(file)
    is_found = form in kinds or (form == "json" and "jsonl" in kinds)
    if form == "csv" and file.kind not in ("", "json"):
        is_found = _has_columns(file)
    if file.kind and not is_found and form != "json":
        raise InputError(
            f"{argument} must name {_listing(kinds)} files, got {str(file)!r}; "
            "a text that is a row by itself must be in a folder with others, each a .txt"
            if file.kind == "txt"
            else f"{argument} must name {_listing(kinds)} files, got {str(file)!r}"
        )
    if not is_found:
        raise InputError(
            f"{argument} must name {_listing(kinds)} files, got {str(file)!r}, "
            f"which holds {form or 'no text'}"
        )
    if form == "json":
        return [json_lines(file, encoding_of(file))]
    return [replace(file, form=form)]


def _has_columns(file: File) -> bool:
    """Whether a file of text is a table: most of its rows have as many fields as its header, more than one."""
    head = read_head(file)
    return is_table(head.decode(find_encoding(head, file.options), "replace"), file)


def _listing(kinds: tuple[str, ...]) -> str:
    return f"{', '.join(f'.{kind}' for kind in kinds[:-1])} or .{kinds[-1]}"
