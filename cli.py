"""The command line: the group of commands, its config file, and how errors end."""

import difflib
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import click

from ndtool import __version__
from ndtool.commands.bench import bench, validate
from ndtool.commands.check import check
from ndtool.commands.compare import compare
from ndtool.commands.demo import demo
from ndtool.commands.evaluate import evaluate
from ndtool.commands.export import export
from ndtool.commands.inventory import list_
from ndtool.commands.options import defaults_of
from ndtool.commands.train import train
from ndtool.errors import NdtoolError
from ndtool.train.launch import launched, launched_first

CONFIG_NAME = "ndtool.toml"


class Commands(click.Group):
    """A group that suggests what was meant, and reads the defaults of its commands from a TOML file."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """The named command, or an error with the closest names."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], self.commands, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(self.commands)}"
            raise click.UsageError(f"no command {args[0]!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the pipeline."""
        return list(self.commands)


def main(args: list[str] | None = None) -> None:
    """Run a command; exit 0 done, 1 a check failed, 2 wrong use or bad input (one line), 130 interrupted."""
    args = sys.argv[1:] if args is None else args
    debug = "--debug" in args  # wherever it stands
    try:
        status = cli.main([arg for arg in args if arg != "--debug"], prog_name="ndtool", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Abort:
        click.echo("ndtool: interrupted", err=True)
        status = 130
    except click.ClickException as error:
        if debug:
            raise
        ctx = getattr(error, "ctx", None)
        where = ctx.command_path if ctx else "ndtool"
        status = _failed(error, f"{where}: {_one_line(error.format_message())}")
    except NdtoolError as error:
        if debug:
            raise
        status = _failed(error, f"ndtool: {error}")
    except BrokenPipeError:  # the reader of our output has gone, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        if debug:
            raise
        status = _failed(error, f"ndtool: {error}")
    sys.exit(status if isinstance(status, int) else 0)


def _failed(error: Exception, line: str) -> int:
    """Say in one line what is wrong; of several processes under torchrun, one says it, and all end without ado."""
    if not launched():
        click.echo(line, err=True)
        return 2
    from ndtool.train.distributed import tell

    tell(error, line, lambda line: click.echo(line, err=True))
    sys.stdout.flush()
    os._exit(2)  # threads of the communication may not be waited for: the others may have gone


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _read_config(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is None:
        path = Path(CONFIG_NAME)
        if not path.is_file():
            return
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise NdtoolError(f"{path}: no readable TOML: {error}") from error
    settings.pop("about", None)  # a recipe serves as a config file
    for name, section in settings.items():
        command = cli.commands.get(name)
        if command is None or not isinstance(section, dict):
            raise NdtoolError(f"{path}: [{name}] is no command of ndtool: use one of {', '.join(cli.commands)}")
        settings[name] = defaults_of(path, name, section, command)
    ctx.default_map = settings
    if launched_first():
        click.echo(f"settings from {path}", err=True)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="ndtool")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    help=f"TOML file with a section per command; flags win.  [default: {CONFIG_NAME} where there is one]",
)
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def cli() -> None:
    """Train a tiny network inside a weight-sharing teacher and take it to a Cortex-M, verified at every step.

    \b
    ndtool train mobilenetv2 --data cifar10.tar.xz --out runs/c10
    ndtool export --int8 --c
    ndtool bench --target cortex-m7
    ndtool check --baseline sizes.json --budget stm32f746

    MODEL is a name (ndtool list models), file.py:callable or package.module:callable. DATA is a name
    (ndtool list data), a folder or archive of class folders, tar shards, an .npz, or file.py:callable.
    """


for each in (train, compare, export, list_, evaluate, bench, validate, check, demo):
    cli.add_command(each)


if __name__ == "__main__":
    main()
