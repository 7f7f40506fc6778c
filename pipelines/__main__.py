"""Run the graph and look at it: `python -m pipelines --help`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipelines", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    deps = commands.add_parser("deps", help="are the .py deps in dvc.yaml what the stages import?")
    deps.add_argument("--fix", action="store_true", help="write them")
    arguments = parser.parse_args(argv)
    return deps_command(fix=arguments.fix)


def deps_command(*, fix: bool) -> int:
    """`deps`: list the differences, or mend them; 1 when some remain."""
    from pipelines.deps import check_deps, fix_deps

    root = Path()
    for line in fix_deps(root) if fix else check_deps(root):
        print(line)
    remaining = check_deps(root)
    return 1 if remaining else 0


if __name__ == "__main__":
    sys.exit(main())
