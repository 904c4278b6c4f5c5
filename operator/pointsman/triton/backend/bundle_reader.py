"""Reads a bundle: one zip file with what a classifier has learned.

`bundle.json` says what it is, `vocabulary.txt` holds one token per line, `weights/<name>.npy` one array each.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

API_VERSION = "pointsman.dev/bundle/v1"
KINDS = ("linear",)
MIN_TIERS, MAX_TIERS = 2, 8
MAX_UNPACKED_BYTES = 256 * 1024 * 1024
"""A bundle comes from outside: a small zip must not unpack to all of the memory."""


class BundleError(ValueError):
    """The file is not a bundle that this version can serve; the message says what is wrong."""


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds, checked as far as it can be without the model's code."""

    manifest: dict[str, Any]
    vocabulary: tuple[str, ...]
    arrays: dict[str, NDArray[Any]]

    @property
    def kind(self) -> str:
        """Which model code reads the weights."""
        return str(self.manifest["kind"])

    @property
    def tiers(self) -> tuple[str, ...]:
        """Models at training, cheap to strong; score i belongs to the policy's tier i."""
        return tuple(self.manifest["tiers"])

    @property
    def intents(self) -> tuple[str, ...]:
        """Every intent that the classifier can name."""
        return tuple(self.manifest["intents"])


def read(data: bytes) -> Bundle:
    """Read and check a bundle file; raise `BundleError`."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > MAX_UNPACKED_BYTES:
                raise BundleError(
                    f"the bundle unpacks to {unpacked} bytes; at most {MAX_UNPACKED_BYTES} are read"
                )
            names = set(archive.namelist())
            if "bundle.json" not in names:
                raise BundleError("there is no bundle.json in the zip file")
            manifest = _manifest(archive.read("bundle.json"))
            vocabulary = (
                archive.read("vocabulary.txt").decode().split("\n") if "vocabulary.txt" in names else []
            )
            arrays = {
                name.removeprefix("weights/").removesuffix(".npy"): _array(name, archive.read(name))
                for name in sorted(names)
                if name.startswith("weights/") and name.endswith(".npy")
            }
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise BundleError(f"the file is not a readable zip file: {error}") from error
    return Bundle(manifest, tuple(vocabulary), arrays)


def array(bundle: Bundle, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array of the bundle, of this very shape, finite; raise `BundleError`."""
    found = bundle.arrays.get(name)
    if found is None:
        raise BundleError(f"weights/{name}.npy is missing")
    if found.shape != shape:
        raise BundleError(f"weights/{name}.npy has shape {list(found.shape)}, expected {list(shape)}")
    if not np.isfinite(found).all():
        raise BundleError(f"weights/{name}.npy holds values that are not finite")
    return found


def _manifest(raw: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"bundle.json is not JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise BundleError("bundle.json is not an object")
    version, kind = manifest.get("apiVersion"), manifest.get("kind")
    if version != API_VERSION:
        raise BundleError(f"bundle.json: apiVersion is {version!r}; this version reads {API_VERSION!r}")
    if kind not in KINDS:
        raise BundleError(f"bundle.json: kind is {kind!r}; this version serves: {', '.join(KINDS)}")
    tiers = _names(manifest, "tiers")
    if not MIN_TIERS <= len(tiers) <= MAX_TIERS:
        raise BundleError(f"bundle.json: {len(tiers)} tiers; from {MIN_TIERS} to {MAX_TIERS} can be served")
    if not _names(manifest, "intents"):
        raise BundleError("bundle.json: intents is empty; at least one is needed")
    return manifest


def _names(manifest: dict[str, Any], field: str) -> list[str]:
    names = manifest.get(field)
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise BundleError(f"bundle.json: {field} must be a list of names")
    if len(set(names)) != len(names):
        raise BundleError(f"bundle.json: {field} names one of them twice")
    return names


def _array(name: str, raw: bytes) -> NDArray[Any]:
    try:
        loaded = np.load(io.BytesIO(raw), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise BundleError(f"{name} is not a plain numpy array: {error}") from error
    if not isinstance(loaded, np.ndarray) or loaded.dtype.kind not in "fiu":
        raise BundleError(f"{name} is not an array of numbers")
    return loaded
