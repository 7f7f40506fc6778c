"""The command `browse`: any revision as a page; nothing is checked out."""

import argparse
from pathlib import Path


def add_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `browse` to the command line."""
    browse = commands.add_parser("browse", help="every stage's output of any revision, as a page")
    browse.add_argument("--port", type=int, default=8800, help="on 127.0.0.1; default 8800")
    browse.set_defaults(act=browse_command)


def browse_command(root: Path, arguments: argparse.Namespace) -> None:
    """`browse`: serve the page until it is stopped."""
    from pipelines.browse.server import serve

    serve(root, arguments.port)
