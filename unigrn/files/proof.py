"""The proof beside a network, `FILE.proof.npz`: the arrays of `unigrn.exact.Proof`."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from dataclasses import fields

import numpy as np

from unigrn.exact import Proof


def beside(path: str | os.PathLike) -> str:
    """Give the name of the proof of a network file."""
    return os.fspath(path) + ".proof.npz"


def rendered(proof: Proof) -> tuple[bytes, str]:
    """Give the bytes of a file, and their SHA-256: the same proof, the same bytes."""
    file = io.BytesIO()
    np.savez_compressed(file, **{f.name: getattr(proof, f.name) for f in fields(Proof)})
    return file.getvalue(), hashlib.sha256(file.getvalue()).hexdigest()


def is_own(path: str) -> bool:
    """Whether a file has the names of a proof."""
    try:
        with zipfile.ZipFile(path) as archive:
            return set(archive.namelist()) == {f"{f.name}.npy" for f in fields(Proof)}
    except (OSError, zipfile.BadZipFile):
        return False


def remove(path: str | os.PathLike) -> None:
    """Remove the proof of a network that was replaced by one without."""
    if is_own(beside(path)):
        os.unlink(beside(path))


def read(path: str | os.PathLike, digest: str | None) -> Proof:
    """Read the proof of a network file, whose document knows the SHA-256 of its proof.

    Raises
    ------
    ValueError
        Where it is absent, is no proof, or is another than the document says.
    """
    name = beside(path)
    if digest is None and is_own(name):
        raise ValueError(
            f"{name!r} is there, but nothing says that it belongs to {os.fspath(path)!r}: the "
            "record of the run (.meta.json of a table) is missing or names no proof; keep together "
            "what infer wrote"
        )
    if digest is None or not os.path.exists(name):
        raise ValueError(
            f"{os.fspath(path)!r} has no proof"
            + (f": {os.path.basename(name)!r} is not beside it" if digest else "")
            + "; infer it with --certify (certify=True)"
        )
    with open(name, "rb") as file:
        content = file.read()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{name!r} is not the proof that was written with the network")
    try:
        return Proof.read(content)
    except ValueError as error:
        raise ValueError(f"cannot read {name!r}: {error}") from None
