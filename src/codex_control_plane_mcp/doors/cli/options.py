"""Options that several commands have."""

from typing import Annotated

import typer

StateDb = Annotated[
    str | None,
    typer.Option("--state-db", metavar="PATH", help="The state; default: as the settings say."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
