"""The scripts' literals are the contract's, in both directions."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lua_kit import functions, plain, runtime
from pointsman import contract
from pointsman.xds.translate.scripts import script

if TYPE_CHECKING:
    from enum import StrEnum

SCRIPTS = ["dispatch", "decide", "rewrite", "shadow"]


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize(
    ("table", "enum"), [("HEADER", contract.Header), ("KEY", contract.Key), ("REASON", contract.Reason)]
)
def test_tables_of_names_are_equal(name: str, table: str, enum: type[StrEnum]) -> None:
    """Each script knows every member of the contract's enums, by the same name, and no other."""
    (found,) = functions(name, table)
    assert plain(found) == {member.name: member.value for member in enum}


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("NAMESPACE", contract.METADATA_NAMESPACE),
        ("CLUSTER_CAPTURE", contract.CLUSTER_CAPTURE),
        ("DECISION", contract.DECISION),
        ("ANSWER", contract.ANSWER),
    ],
)
def test_single_names_are_equal(literal: str, value: str) -> None:
    """Names that are no member of a table are the contract's too."""
    (found,) = functions("decide", literal)
    assert plain(found) == value


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_name_that_a_script_uses_exists(name: str) -> None:
    """A misspelt member would be nil in Lua, without a word."""
    used = set(re.findall(r"\b(HEADER|KEY|REASON)\.(\w+)", script(name)))
    enums: dict[str, type[StrEnum]] = {
        "HEADER": contract.Header,
        "KEY": contract.Key,
        "REASON": contract.Reason,
    }
    assert {f"{table}.{member}" for table, member in used if member not in enums[table].__members__} == set()


def test_every_key_that_a_record_spells_out_is_the_contracts() -> None:
    """Keys written as literals in the records' text are members of the contract."""
    source = (resources.files("pointsman.xds") / "lua" / "decide.lua").read_text(encoding="utf-8")
    spelt = set(re.findall(r'"(\w+)":', source))
    assert spelt <= {key.value for key in contract.Key}


def test_what_the_dispatch_could_not_read_is_a_failure_to_decide() -> None:
    """The reasons that the first script hands to the second are all reasons to fail open."""
    (found,) = functions("decide", "DISPATCH_REASONS")
    assert set(plain(found)) <= {reason.value for reason in contract.FAIL_OPEN}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_whole(name: str) -> None:
    """Envoy gives a script nothing to `require`: every include is in place, and no global is left behind."""
    source = script(name)
    assert "-- include" not in source
    assert "require" not in re.sub(r"--.*", "", source)
    before, after = globals_of("reply"), globals_of(name)
    assert after - before <= {"envoy_on_request", "envoy_on_response"}


def globals_of(name: str) -> set[str]:
    """Return the global names that there are once a script has been loaded."""
    lua = runtime()
    functions(name, lua=lua)
    return {plain(each) for each in lua.globals()}


QUOTED = functions("decide", "quoted")[0]


@given(st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"])))
def test_texts_are_quoted_as_ascii_json(text: str) -> None:
    """Any text of the basic plane comes back from the JSON string that a record holds."""
    quoted = QUOTED(text.encode())
    assert quoted.isascii()
    assert json.loads(quoted) == text


@given(st.binary(max_size=40))
def test_any_bytes_become_readable_json(raw: bytes) -> None:
    """Bytes that are no text cost a question mark, never the record."""
    quoted = QUOTED(raw)
    assert quoted.isascii()
    assert isinstance(json.loads(quoted), str)
