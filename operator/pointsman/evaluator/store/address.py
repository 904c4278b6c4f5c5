"""Where a store is: a file, or a PostgreSQL database. Never with a password in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, urlsplit

SCHEMES: Final = ("postgresql", "postgres")


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL database, as libpq's URL names it; the password comes from elsewhere.

    That is `password_file`, read anew for each connection, else what libpq knows: PGPASSWORD, PGPASSFILE.
    """

    url: str
    password_file: Path | None = None

    def __str__(self) -> str:
        """Return the URL: it holds no secret."""
        return self.url

    def password(self) -> str | None:
        """Return the password as the file has it now. `OSError`."""
        return self.password_file.read_text("utf-8").strip() if self.password_file else None


Address: TypeAlias = Path | Server


def address(text: str, password_file: Path | None = None) -> Address:
    """Read `--store`; ValueError says what is wrong with it."""
    if "://" not in text:
        if password_file is not None:
            raise ValueError("--store-password-file belongs to a --store postgresql://…, not to a file")
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"--store {parts.scheme}://…: give a file, or postgresql://USER@HOST/DATABASE")
    asked = {key.lower() for key, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if parts.password is not None or asked & {"password", "sslpassword"}:
        # Not shown again: whoever lists processes has seen it once too often.
        raise ValueError(
            "--store: holds a password, which everybody on this machine can read; take it out and give "
            "--store-password-file FILE, or PGPASSFILE or PGPASSWORD in the environment"
        )
    return Server(text, password_file)
