"""ndtool list."""

import click

from ndtool.commands.options import json_option
from ndtool.console import echo_json


@click.command("list", short_help="What there is: models, data, recipes, targets, methods, ops.")
@click.argument("what", metavar="WHAT", type=click.Choice(["models", "data", "recipes", "targets", "methods", "ops"]))
@json_option
def list_(what: str, as_json: bool) -> int:
    """List models, data, recipes, targets, methods, or the operators of the C compiler.

    \b
    ndtool list models
    ndtool list ops --json
    """
    from ndtool import render

    headings, rows = render.inventory(what)
    if as_json:
        echo_json([dict(zip(headings, row, strict=True)) for row in rows])
    else:
        from ndtool.console import table

        table(what, headings, rows, left=len(headings))
    return 0
