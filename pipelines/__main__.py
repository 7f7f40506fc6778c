"""Run the graph, and look at what it made: `run`, `status`, `browse`, `diff`, `why`, `review`."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import pipelines.browse.commands
import pipelines.look.commands
import pipelines.review.commands
import pipelines.run.commands
from stages.engine.errors import InputError
from stages.engine.files import MACHINE, explain_machine_error

ROOT = Path()
PROGRAM = "./seedmask"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    pipelines.run.commands.add_parsers(commands)
    pipelines.review.commands.add_parsers(commands)
    pipelines.browse.commands.add_parsers(commands)
    pipelines.look.commands.add_parsers(commands)
    arguments = parser.parse_args(argv)

    from pipelines.graph.objects import MissingObject  # --help starts quickly without it

    try:
        return arguments.act(ROOT, arguments) or 0
    except (InputError, MissingObject) as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:  # `review rank | head`; but `run | head` has not done its work
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(arguments.command in ("run", "memo", "verify"))
    except OSError as error:
        if error.errno not in MACHINE:
            raise
        print(explain_machine_error(error), file=sys.stderr)
        again = sys.argv[1:] if argv is None else argv
        print(f"To go on from here: {shlex.join([*PROGRAM.split(), *again])}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
