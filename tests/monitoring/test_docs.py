"""The documentation: no dead link, and policies that the API takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from monitoring_kit import ROOT
from pointsman.api.manifests import read
from pointsman.api.v1alpha1.rollout_action import RolloutActionSpec

PAGES = sorted((ROOT / "docs").rglob("*.md"))
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"```.*?```", re.DOTALL)
_YAML = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


def name_of(page: Path) -> str:
    """Return a page's path as one writes it."""
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", _CODE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Files are there, and so are the headings in them."""
    dead = []
    for link in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_policies_in_the_text_are_taken(page: Path) -> None:
    """Whole manifests in yaml blocks are read as strictly as the API server reads them."""
    for index, block in enumerate(_YAML.findall(page.read_text(encoding="utf-8"))):
        if "# …" in block:
            continue  # an excerpt
        if "kind: RolloutAction" in block:
            RolloutActionSpec.model_validate(yaml.safe_load(block)["spec"])  # named by the API server
        elif "kind: RoutingPolicy" in block:
            assert read({f"{name_of(page)}, block {index}": block}).policies


def test_every_page_is_in_the_index() -> None:
    """Whoever opens the folder finds them all."""
    text = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    named = {link.partition("#")[0] for link in _LINK.findall(text)}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"} <= named
