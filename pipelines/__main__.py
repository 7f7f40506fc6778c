"""Run the graph and look at it: `python -m pipelines run`, `status`, `use PRESET`, `deps`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from stages.io.errors import InputError

ROOT = Path()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipelines", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    run = commands.add_parser("run", help="bring the graph, or some stages of it, up to date")
    run.add_argument("target", nargs="*", help="stages, with all they depend on; default: all")
    run.add_argument("--local", action="store_true", help="without Prefect: starts at once")
    run.add_argument("--jobs", type=_positive, help="stages at once; default SEEDMASK_JOBS or 2")
    run.add_argument("--wait", action="store_true", help="for another run in this workspace")

    status = commands.add_parser("status", help="what `run` would do")
    status.add_argument("target", nargs="*", help="as for run")

    use = commands.add_parser("use", help="write params.yaml from a preset")
    use.add_argument("preset", help="a file in presets/, such as default")
    use.add_argument("override", nargs="*", help="section.key=value")

    deps = commands.add_parser("deps", help="are the .py deps in dvc.yaml what the stages import?")
    deps.add_argument("--fix", action="store_true", help="write them")

    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "run":
            return run_command(
                arguments.target, arguments.jobs, local=arguments.local, wait=arguments.wait
            )
        if arguments.command == "status":
            return status_command(arguments.target)
        if arguments.command == "use":
            return use_command(arguments.preset, arguments.override)
        return deps_command(fix=arguments.fix)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


def run_command(targets: Sequence[str], jobs: int | None, *, local: bool, wait: bool) -> int:
    """`run`: plan, check the parameters, run, show what came out."""
    from pipelines.rebuild import rebuild
    from pipelines.run import run_local

    resume = " ".join(["python -m pipelines run", *targets, *(["--local"] if local else [])])
    if local or not _is_pending(targets):
        rebuilt = rebuild(ROOT, targets, run_local, jobs=jobs, wait=wait, resume=resume)
        return 1 if rebuilt.missing else 0
    _prepare_prefect()
    from pipelines.flow import seedmask

    end = seedmask(list(targets), jobs=jobs, wait=wait, return_state=True)
    if isinstance(end.data, Exception):  # not a stage: what was asked for, or Prefect
        raise end.data
    return 0 if end.is_completed() else 1


def _is_pending(targets: Sequence[str]) -> bool:
    """Whether there is something to do, for which Prefect's server is worth its start."""
    from pipelines.plan import make_plan

    return bool(make_plan(ROOT, targets).pending)


def status_command(targets: Sequence[str]) -> int:
    """`status`: a table of the stages and what `run` would do with each."""
    from pipelines.params import check_sections
    from pipelines.plan import make_plan
    from pipelines.summary import print_status

    check_sections(ROOT)
    print_status(ROOT, make_plan(ROOT, targets))
    return 0


def use_command(preset: str, overrides: Sequence[str]) -> int:
    """`use`: write params.yaml and say what differs from the default."""
    from pipelines.presets import use_preset

    changes = use_preset(ROOT, preset, overrides)
    print(f"params.yaml is preset {preset!r}" + (" with:" if changes else "."))
    for line in changes:
        print(f"  {line}")
    return 0


def deps_command(*, fix: bool) -> int:
    """`deps`: list the differences, or mend them; 1 when some remain."""
    from pipelines.deps import check_deps, fix_deps

    for line in fix_deps(ROOT) if fix else check_deps(ROOT):
        print(line)
    return 1 if check_deps(ROOT) else 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {text}")
    return number


def _prepare_prefect() -> None:
    """Before Prefect is imported: no usage statistics; time for its server on a busy machine."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")


if __name__ == "__main__":
    sys.exit(main())
