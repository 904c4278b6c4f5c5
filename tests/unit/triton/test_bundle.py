"""Bundle files: deterministic, and refused with words when they cannot serve."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest

import bundles as small
from pointsman.triton import bundle as bundles
from pointsman.triton.bundle import BundleError


def changed(manifest: dict[str, Any] | None = None, **arrays: Any) -> bytes:
    """Return a bundle file with other fields in its manifest or other arrays (None: left out)."""
    bundle = small.fitted()
    kept = {name: value for name, value in {**bundle.arrays, **arrays}.items() if value is not None}
    return bundles.pack({**bundle.manifest, **(manifest or {})}, bundle.vocabulary, kept)


def test_same_content_same_bytes() -> None:
    """Packing twice gives the same file, whatever the order of the parts."""
    bundle = small.fitted()
    backwards = dict(reversed(bundle.arrays.items()))
    manifest = dict(reversed(bundle.manifest.items()))
    assert bundles.pack(manifest, bundle.vocabulary, backwards) == small.file()


def test_round_trip() -> None:
    """What was packed is read back: manifest, vocabulary and every array with its type."""
    packed, read = small.fitted(), bundles.read(small.file())
    assert read.manifest == json.loads(json.dumps(packed.manifest))
    assert read.vocabulary == packed.vocabulary
    assert read.arrays.keys() == packed.arrays.keys()
    for name, value in packed.arrays.items():
        assert read.arrays[name].dtype == value.dtype
        np.testing.assert_array_equal(read.arrays[name], value)


def test_names_no_time_and_no_machine() -> None:
    """The zip file holds fixed times and rights, sorted names, and nothing compressed."""
    with zipfile.ZipFile(io.BytesIO(small.file())) as archive:
        members = archive.infolist()
    assert [member.filename for member in members] == sorted(member.filename for member in members)
    assert {member.date_time for member in members} == {(1980, 1, 1, 0, 0, 0)}
    assert {(member.create_system, member.external_attr >> 16) for member in members} == {(3, 0o644)}
    assert {member.compress_type for member in members} == {zipfile.ZIP_STORED}


def test_check_wants_the_digest() -> None:
    """Another digest than the file's is refused, and both are named."""
    digest = bundles.sha256(small.file())
    assert bundles.check(small.file(), digest=digest, tiers=2).tiers == ("tier-0", "last")
    with pytest.raises(BundleError, match=f"{digest}, not {'0' * 64}"):
        bundles.check(small.file(), digest="0" * 64)


def test_check_wants_the_number_of_tiers() -> None:
    """A bundle for two tiers is refused for a policy with three, with the remedy."""
    with pytest.raises(BundleError, match=r"scores 2 tiers \(tier-0, last\), the policy has 3: train it"):
        bundles.check(small.file(), tiers=3)


NOT_FINITE = np.full(2, np.nan, dtype=np.float32)
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "another version": (
        {"apiVersion": "pointsman.dev/bundle/v9"},
        {},
        "apiVersion is 'pointsman.dev/bundle/v9'",
    ),
    "another kind": ({"kind": "mf"}, {}, "kind is 'mf'; this version serves: linear"),
    "one tier": ({"tiers": ["only"]}, {}, "1 tiers; from 2 to 8"),
    "a tier twice": ({"tiers": ["a", "a"]}, {}, "tiers names one of them twice"),
    "tiers that are no names": ({"tiers": [1, 2]}, {}, "tiers must be a list of names"),
    "more tiers than weights": (
        {"tiers": ["a", "b", "c"]},
        {},
        r"gain.npy has shape \[\d+, 1\], expected \[\d+, 2\]",
    ),
    "no intents": ({"intents": []}, {}, "intents is empty"),
    "other features": ({"features": {"dense": ["length"]}}, {}, "features.dense must be"),
    "no calibration": ({"calibration": {}}, {}, r"calibration.curves\[0\] needs lists"),
    "rising scores": (
        {"calibration": {"curves": [{"gains": [0, 1], "scores": [0.1, 0.2]}]}},
        {},
        "a higher gain must not raise the score",
    ),
    "scores above 1": ({"calibration": {"curves": [{"gains": [0], "scores": [2]}]}}, {}, "within 0 and 1"),
    "curve of two lengths": (
        {"calibration": {"curves": [{"gains": [0, 1], "scores": [0.1]}]}},
        {},
        "differ in length",
    ),
    "a missing array": ({}, {"idf": None}, "weights/idf.npy is missing"),
    "an array of another shape": (
        {},
        {"intent_bias": np.zeros(5, np.float32)},
        r"shape \[5\], expected \[2\]",
    ),
    "nan": ({}, {"intent_bias": NOT_FINITE}, "intent_bias.npy holds values that are not finite"),
    "an array of objects": ({}, {"idf": np.array(["a", "b"])}, "not an array of numbers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    """A bundle that could not serve is refused, and the message names the part."""
    manifest, arrays, message = REFUSED[case]
    with pytest.raises(BundleError, match=message):
        bundles.check(changed(manifest, **arrays))


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_json", ".json"), content)
    return file.getvalue()


NO_BUNDLE = {
    "empty": (b"", "not a readable zip file"),
    "no zip": (b"PK\x03\x04 but no zip", "not a readable zip file"),
    "cut off": (small.file()[: len(small.file()) // 2], "not a readable zip file"),
    "a zip of something else": (zipped(readme=b"hello"), "no bundle.json"),
    "no JSON": (zipped(bundle_json=b"{"), "bundle.json is not JSON"),
    "no object": (zipped(bundle_json=b"[]"), "bundle.json is not an object"),
    "a bomb": (zipped(bundle_json=b"0" * (257 << 20)), "at most 268435456 are read"),
}


@pytest.mark.parametrize("case", NO_BUNDLE)
def test_no_bundle(case: str) -> None:
    """A file that is no bundle is refused with what is wrong, and never unpacked without bounds."""
    content, message = NO_BUNDLE[case]
    with pytest.raises(BundleError, match=message):
        bundles.check(content)


def test_pickles_are_refused() -> None:
    """An array that would run code when loaded is refused."""
    raw = io.BytesIO()
    np.save(raw, np.array([{}], dtype=object), allow_pickle=True)
    file = io.BytesIO(small.file())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("weights/evil.npy", raw.getvalue())
    with pytest.raises(BundleError, match=r"weights/evil.npy is not a plain numpy array"):
        bundles.check(file.getvalue())
