"""Files that are written whole or not at all, and arrays that are cached for the geometry and the code they come from."""

import contextlib
import hashlib
import io
import json
import os
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block succeeds; else nothing changes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        # On the disk before its name is, or a power cut leaves an empty file.
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def cache(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays for `cached`, as NumPy's .npz with its SHA-256 at the end, which NumPy passes over."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    with whole_file(path) as temporary:
        temporary.write_bytes(content.getvalue() + hashlib.sha256(content.getvalue()).digest())


def cached(path: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays that `cache` wrote; None if there are none, or if the file is damaged, which is said."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    content, checksum = content[:-32], content[-32:]
    if hashlib.sha256(content).digest() != checksum:
        print(
            f"{path} does not have the checksum at its end: it is damaged, and computed again",
            file=sys.stderr,
        )
        return None
    with np.load(io.BytesIO(content)) as arrays:
        return dict(arrays)


def is_whole(archive: Path | BinaryIO) -> bool:
    """Return whether a zip file, which is what PyTorch writes, can be read to its end and has the checksums it names."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.testzip() is None
    except Exception:  # zipfile raises whatever the damaged bytes happen to mean
        return False


def geometry_key(cells: Iterable[Any], *also: Any) -> str:
    """Return the hash of atoms, places and lattice of `cells`, and of `also`: 16 hexadecimal digits.

    Rounded to 1e-6 A: the same relaxation may differ in the last digits the next time.
    """
    digest = hashlib.sha256(json.dumps(also).encode())
    for cell in cells:
        digest.update(np.asarray(cell.numbers, dtype=int).tobytes())
        for lengths in (cell.positions, cell.cell):
            digest.update((np.asarray(lengths).round(6) + 0.0).tobytes())  # no minus zero
    return digest.hexdigest()[:16]
