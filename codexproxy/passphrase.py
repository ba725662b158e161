"""Where the commands get a backup's passphrase from: a person, or a file."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError


def add_argument(parser: ArgumentParser) -> None:
    # SECURITY: never on the command line, where every user of the machine could read it.
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help="read the passphrase from this file's first line (/dev/stdin for a pipe) instead of asking",
    )


def passphrase(options: dict[str, Any], *, twice: bool) -> str:
    """Raises CommandError."""
    file: Path | None = options["passphrase_file"]
    if file is not None:
        try:
            return (file.read_text().splitlines() or [""])[0]
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{file} cannot be read: {error}") from None
    try:
        typed = getpass.getpass("Passphrase: ")
        if twice and getpass.getpass("The same again: ") != typed:
            raise CommandError("These were not the same.")
    except EOFError:
        raise CommandError("There is nobody to ask: use --passphrase-file.") from None
    return typed
