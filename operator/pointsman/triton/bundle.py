"""Bundles as files: one deterministic zip, named by its SHA-256. Pure."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.triton.backend import bundle_reader
from pointsman.triton.backend.bundle_reader import API_VERSION, Bundle, BundleError, read
from pointsman.triton.backend.linear import LinearClassifier, Scored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "API_VERSION",
    "MAX_CONFIGMAP_BYTES",
    "Bundle",
    "BundleError",
    "LinearClassifier",
    "Scored",
    "check",
    "classifier",
    "pack",
    "read",
    "sha256",
]

MAX_CONFIGMAP_BYTES = 700_000
"""A ConfigMap holds 1 MiB in base64, which adds a third."""

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can hold


def pack(manifest: Mapping[str, Any], vocabulary: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Write a bundle file: the same content gives the same bytes.

    Members are stored, not compressed: compressors differ between machines, and weights hardly shrink.
    """
    members = {
        "bundle.json": json.dumps(manifest, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n",
        "vocabulary.txt": "\n".join(vocabulary).encode(),
    }
    for name, value in arrays.items():
        raw = io.BytesIO()
        np.save(raw, np.ascontiguousarray(value), allow_pickle=False)
        members[f"weights/{name}.npy"] = raw.getvalue()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system = 3  # Unix, wherever it is written
            member.external_attr = 0o644 << 16
            archive.writestr(member, members[name])
    return file.getvalue()


def sha256(data: bytes) -> str:
    """Return the digest that names a bundle file, in hex."""
    return hashlib.sha256(data).hexdigest()


def classifier(bundle: Bundle) -> LinearClassifier:
    """Return the code that scores with this bundle; raise `BundleError`."""
    return LinearClassifier(bundle)


def check(data: bytes, *, digest: str | None = None, tiers: int | None = None) -> Bundle:
    """Read a bundle file and make sure that it can serve; raise `BundleError`, naming what is wrong.

    `digest`: the SHA-256 that it must have; `tiers`: how many tiers the policy has.
    """
    if digest is not None and (found := sha256(data)) != digest:
        raise BundleError(
            f"the file's sha256 is {found}, not {digest}: it was changed, or the digest is another file's"
        )
    bundle = bundle_reader.read(data)
    if tiers is not None and len(bundle.tiers) != tiers:
        raise BundleError(
            f"the bundle scores {len(bundle.tiers)} tiers ({', '.join(bundle.tiers)}), "
            f"the policy has {tiers}: train it for as many models as the policy has tiers"
        )
    classifier(bundle)
    return bundle
