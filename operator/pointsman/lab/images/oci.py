"""The OCI image format: what configuration, manifest and archive consist of. Pure but for the archive."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from pointsman.lab.images.layers import EPOCH

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_INDEX: Final = "application/vnd.oci.image.index.v1+json"
_CREATED: Final = "1970-01-01T00:00:00Z"
NOBODY: Final = "65532:65532"
"""User and group of every image, by number: the kubelet can only check a number for `runAsNonRoot`."""
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Blob:
    """Something in the store: `digest` is `sha256:<hex>`, `size` in bytes."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer and how it came about, in words."""

    name: str
    blob: Blob


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an image runs, and from which layers."""

    name: str
    layers: tuple[str, ...]
    entrypoint: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"


@dataclass(frozen=True, slots=True)
class Image:
    """A finished image; `blobs` (configuration and manifest) are its own, layers lie in the store."""

    name: str
    layers: tuple[Layer, ...]
    manifest: bytes = field(repr=False)
    config: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """Digest of the manifest, as kubelets show it."""
        return digest_of(self.manifest)

    @property
    def names(self) -> tuple[str, ...]:
        """References: tag `dev`, and one that changes with the content."""
        return (f"{self.name}:dev", f"{self.name}:{self.digest.removeprefix('sha256:')[:12]}")

    @property
    def size(self) -> int:
        """Bytes of all layers, unpacked."""
        return sum(layer.blob.size for layer in self.layers)


def digest_of(content: bytes) -> str:
    """Return the digest of some bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def assemble(recipe: Recipe, layers: Sequence[Layer]) -> Image:
    """Make an image of layers, lowest first."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    env = {"PATH": path, **recipe.env}
    config = _json(
        {
            "created": _CREATED,
            "architecture": _MACHINES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {
                "User": NOBODY,
                "Env": [f"{name}={value}" for name, value in env.items()],
                "Entrypoint": [*recipe.entrypoint],
                "WorkingDir": recipe.workdir,
                "Labels": {"org.opencontainers.image.title": recipe.name.rpartition("/")[2]},
            },
            # Uncompressed layers: their digest is also that of their content.
            "rootfs": {"type": "layers", "diff_ids": [layer.blob.digest for layer in layers]},
            "history": [{"created": _CREATED, "created_by": layer.name} for layer in layers],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": _CONFIG, "digest": digest_of(config), "size": len(config)},
            "layers": [
                {"mediaType": _LAYER, "digest": layer.blob.digest, "size": layer.blob.size}
                for layer in layers
            ],
        }
    )
    return Image(recipe.name, tuple(layers), manifest, config)


def write_archive(images: Iterable[Image], locate: Callable[[Blob], Path], out: IO[bytes]) -> None:
    """Write images as an OCI layout in a tar, each blob once; also readable as `docker save` writes it."""
    chosen = [*images]
    small = {digest_of(each): each for image in chosen for each in (image.config, image.manifest)}
    large = {layer.blob.digest: layer.blob for image in chosen for layer in image.layers}
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        _put(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _put(tar, "index.json", _json(_index(chosen)))
        _put(tar, "manifest.json", _json([_docker(image) for image in chosen]))
        for digest, content in sorted(small.items()):
            _put(tar, _path(digest), content)
        for digest, blob in sorted(large.items()):
            info = tarfile.TarInfo(_path(digest))
            info.size, info.mtime = blob.size, EPOCH
            with locate(blob).open("rb") as stream:
                tar.addfile(info, stream)


def _index(images: Iterable[Image]) -> dict[str, Any]:
    manifests = [
        {
            "mediaType": MANIFEST,
            "digest": image.digest,
            "size": len(image.manifest),
            "annotations": {
                # The first is containerd's own and carries the whole name, the second is the standard's tag.
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": name.rpartition(":")[2],
            },
        }
        for image in images
        for name in image.names
    ]
    return {"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests}


def _docker(image: Image) -> dict[str, Any]:
    return {
        "Config": _path(digest_of(image.config)),
        "RepoTags": [*image.names],
        "Layers": [_path(layer.blob.digest) for layer in image.layers],
    }


def _path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(content), EPOCH
    tar.addfile(info, io.BytesIO(content))


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
