"""Where a store is, and that no password is ever part of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.evaluator.store.address import Server, address


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_url_is_a_server_and_the_rest_a_file(scheme: str) -> None:
    """Both of libpq's schemes; a relative or absolute path is a file."""
    url = f"{scheme}://pointsman@db:5432/pointsman?sslmode=verify-full"
    assert address(url) == Server(url)
    assert address("requests.sqlite") == Path("requests.sqlite")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:secret@db/x",
        "postgresql://u@db/x?password=secret",
        "postgresql://u@db/x?sslpassword=s",
    ],
)
def test_a_password_in_the_url_is_refused_without_repeating_it(url: str) -> None:
    """The command line is everybody's to read; the error says where the password belongs."""
    with pytest.raises(ValueError, match="--store-password-file") as refused:
        address(url)
    assert "secret" not in str(refused.value)


def test_another_scheme_is_refused() -> None:
    """The error names what is possible."""
    with pytest.raises(ValueError, match=r"mysql://.*postgresql://"):
        address("mysql://db/x")


def test_a_password_file_is_for_a_server(tmp_path: Path) -> None:
    """It is read anew each time: a rotated password needs no restart; a file store has none."""
    file = tmp_path / "password"
    server = address("postgresql://u@db/x", file)
    assert isinstance(server, Server)
    for word in ("first", "second"):
        file.write_text(f"{word}\n")
        assert server.password() == word
    assert "first" not in repr(server) + str(server)
    with pytest.raises(ValueError, match="--store-password-file"):
        address("requests.sqlite", file)
