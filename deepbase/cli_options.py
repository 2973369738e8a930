"""What the commands share: how they end, how they open a database, and the options that several of them have."""

from __future__ import annotations

import functools
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import click
from click.core import ParameterSource

from deepbase.errors import DeepBaseError, DeepBaseWarning

Command = Callable[..., None]

DEFAULT_DATABASE = "deepbase.duckdb"


class Guarded(click.Group):
    """A group whose commands end in one line where they fail."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort):
            raise
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(1)
        except (Exception, KeyboardInterrupt) as error:
            if os.environ.get("DEEPBASE_DEBUG"):
                raise
            click.echo(f"Error: {_message(error)}", err=True)
            ctx.exit(1)


class NounGroup(Guarded):
    """The commands of one noun; without one, `list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def _message(error: BaseException) -> str:
    run = getattr(error, "run", None)
    if isinstance(error, KeyboardInterrupt) or _is_interrupt(error):
        return f"{error}. Go on with: deepbase inspect --resume {run}" if run else "interrupted"
    if isinstance(error, DeepBaseError):
        return str(error)
    if type(error).__module__.startswith(("duckdb", "_duckdb")):
        return str(error).strip()
    if isinstance(error, UnicodeEncodeError):
        text = error.object[error.start : error.end]
        return f"the output cannot be written in {error.encoding}, which has no {text!r}. Set PYTHONUTF8=1."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename or ''}".rstrip(": ")
    kind = type(error).__name__
    return f"{kind}: {error}. This is a mistake in DeepBase; set DEEPBASE_DEBUG=1 to see where"


def _is_interrupt(error: BaseException) -> bool:
    """Ctrl-C in the middle of DuckDB's own code, or of a function that it calls."""
    if isinstance(error, RuntimeError):
        return "interrupted" in str(error)
    return type(error).__name__ == "InterruptException" or "executing the UDF: KeyboardInterrupt" in str(error)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    own = issubclass(category, DeepBaseWarning)
    text = f"Note: {message}\n" if own else warnings.formatwarning(message, category, filename, lineno, line)
    click.echo(text, file=file or sys.stderr, nl=False)


def _opens_database(command: Command, *, makes: bool) -> Command:
    """Open the database of `--db` and pass it on.

    Args:
        command: what it is passed to.
        makes: whether the command makes the file where there is none. One that only reads does not.
    """

    @click.option(
        "--db",
        default=DEFAULT_DATABASE,
        show_default=True,
        envvar="DEEPBASE_DB",
        show_envvar=True,
        metavar="FILE",
        help="The database file; ':memory:' keeps nothing.",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, db: str, **kwargs: Any) -> None:
        import deepbase

        context = click.get_current_context()
        if not db:
            raise click.BadParameter("it needs the name of a file", context, param_hint="--db")
        if not makes and not os.path.exists(db) and context.get_parameter_source("db") is ParameterSource.DEFAULT:
            click.echo(f"Note: there is no database {db} here yet", err=True)
            db = ":memory:"
        read_only = os.path.isfile(db) and not os.access(db, os.W_OK)
        with deepbase.connect(db, read_only=read_only, create=makes) as database:
            try:
                command(database, *args, **kwargs)
            except BaseException:
                database.discard_if_unused()
                raise
            if database.made:
                click.echo(f"made the database {db}", err=True)

    return wrapped


@contextmanager
def ctrl_c_calls(interrupt: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C end a query of DuckDB, which by itself looks at signals only between its tasks.

    Python's own handler has to wait for DuckDB to return. A thread that waits for the signal's number does not.
    """
    if threading.current_thread() is not threading.main_thread():  # which hears no signals
        yield
        return
    heard, told = socket.socketpair()
    told.setblocking(False)

    def wait() -> None:
        while number := heard.recv(1):
            if number[0] == signal.SIGINT:
                interrupt()

    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        told.close()
        thread.join()
        heard.close()


reads_database = functools.partial(_opens_database, makes=False)
makes_database = functools.partial(_opens_database, makes=True)

format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="How to print the result.",
)


def loading_options(command: Command) -> Command:
    """How to load a model."""
    for option in (
        click.option("--trust-remote-code", is_flag=True, help="Let code that comes with the weights run."),
        click.option("--allow-pickle", is_flag=True, help="Load weights that are pickles."),
        click.option(
            "--padding",
            type=click.Choice(["right", "left", "none"]),
            help="The side to pad on  [default: what changes nothing].",
        ),
        click.option("--tokenizer", metavar="DIR", help="Where the model's tokenizer is, if elsewhere."),
    ):
        command = option(command)
    return command
