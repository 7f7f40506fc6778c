"""Run the graph, and look at what it made: `run`, `status`, `browse`, `diff`, `why`, `review`."""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pipelines.look.commands
import pipelines.review.commands
from stages.engine.errors import InputError
from stages.engine.files import MACHINE, explain_machine_error

ROOT = Path()
PROGRAM = "python -m pipelines"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    run = commands.add_parser("run", help="bring the graph, or some stages of it, up to date")
    run.add_argument("target", nargs="*", help="stages, with all they depend on; default: all")
    run.add_argument("--local", action="store_true", help="without Prefect: starts at once")
    run.add_argument("--jobs", type=_positive, help="stages at once; default SEEDMASK_JOBS or 2")
    run.add_argument(
        "--pull", action="store_true", help="what DVC's remote has, instead of running"
    )
    run.add_argument("--dask", metavar="tcp://HOST:PORT", help="images on a Dask cluster's workers")
    run.add_argument("--wait", action="store_true", help="for another run in this workspace")

    status = commands.add_parser("status", help="what `run` would do")
    status.add_argument("target", nargs="*", help="as for run")

    use = commands.add_parser("use", help="write params.yaml from a preset")
    use.add_argument("preset", help="a file in presets/, such as default")
    use.add_argument("override", nargs="*", help="section.key=value")
    use.add_argument("--wait", action="store_true", help="for a run in this workspace")

    for name, text in (
        ("freeze", "keep what stages made, whatever becomes of their inputs"),
        ("unfreeze", "let them follow their inputs again"),
    ):
        freeze = commands.add_parser(name, help=text)
        freeze.add_argument("stage", nargs="+", help="as in dvc.yaml")
        freeze.add_argument("--wait", action="store_true", help="for a run in this workspace")

    memo = commands.add_parser("memo", help="the kept results of single images")
    kinds = memo.add_subparsers(dest="kind", required=True)
    gc = kinds.add_parser("gc", help="remove what was not used for long")
    gc.add_argument("--days", type=float, default=30, help="since the last use; default 30")
    gc.add_argument("--gigabytes", type=float, help="at most so much stays")
    verify = kinds.add_parser("verify", help="compute a sample again and compare byte for byte")
    verify.add_argument("target", nargs="*", help="as for run")
    verify.add_argument("--share", type=_share, default=0.01, help="of the results; default 0.01")

    whole = commands.add_parser("verify", help="hash all that is kept: cache, data/, memo ...")
    whole.add_argument("target", nargs="*", help="stages; default: all, and all of DVC's cache")
    whole.add_argument("--drop", action="store_true", help="remove what is bad; `run` mends it")

    pipelines.review.commands.add_parsers(commands)

    pipelines.look.commands.add_parsers(commands)

    arguments = parser.parse_args(argv)
    try:
        if "act" in arguments:
            return act(arguments)
        if arguments.command == "run":
            if arguments.dask:
                os.environ["SEEDMASK_DASK"] = arguments.dask
            return run_command(arguments)
        if arguments.command == "status":
            return status_command(arguments.target)
        if arguments.command == "use":
            return use_command(arguments.preset, arguments.override, wait=arguments.wait)
        if arguments.command in ("freeze", "unfreeze"):
            is_frozen = arguments.command == "freeze"
            return freeze_command(arguments.stage, frozen=is_frozen, wait=arguments.wait)
        if arguments.command == "verify":
            return verify_command(arguments.target, drop=arguments.drop)
        if arguments.kind == "gc":
            return sweep_command(arguments.days, arguments.gigabytes)
        return verify_memo_command(arguments.target, arguments.share)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
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


def act(arguments: argparse.Namespace) -> int:
    """A command of pipelines/look or pipelines/review."""
    from pipelines.graph.objects import MissingObject

    try:
        arguments.act(ROOT, arguments)
    except MissingObject as error:
        raise InputError(str(error)) from error
    except BrokenPipeError:  # `review rank | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def run_command(arguments: argparse.Namespace) -> int:
    """`run`: plan, check the parameters, run, show what came out."""
    from pipelines.run.rebuild import rebuild
    from pipelines.run.runner import run_local

    targets: list[str] = arguments.target
    options: dict[str, Any] = {
        "jobs": arguments.jobs,
        "wait": arguments.wait,
        "pull": arguments.pull,
    }
    if arguments.local or not _is_pending(targets, wait=arguments.wait):
        local = ["--local"] if arguments.local else []
        resume = " ".join(["python -m pipelines run", *targets, *local])
        rebuilt = rebuild(ROOT, targets, run_local, resume=resume, **options)
        return 1 if rebuilt.missing else 0
    _prepare_prefect()
    _leave_in_order_on_signals()
    from pipelines.run.flow import seedmask

    end = seedmask(targets, **options, return_state=True)
    if isinstance(end.data, Exception):  # not a stage: what was asked for, or Prefect
        raise end.data
    return 0 if end.is_completed() else 1


def _is_pending(targets: Sequence[str], *, wait: bool) -> bool:
    """Whether there is something to do, for which Prefect's server is worth its start."""
    from pipelines.graph.params import check_params
    from pipelines.graph.plan import make_plan
    from pipelines.run.workspace import holding_workspace

    with holding_workspace(ROOT, wait=wait):
        check_params(ROOT)
        return bool(make_plan(ROOT, targets).pending)


def status_command(targets: Sequence[str]) -> int:
    """`status`: a table of the stages and what `run` would do with each."""
    from pipelines.graph.params import check_params
    from pipelines.graph.plan import make_plan
    from pipelines.run.summary import print_status
    from pipelines.run.workspace import check_lock_file, check_own_folder

    check_own_folder(ROOT)
    check_lock_file(ROOT)
    check_params(ROOT)
    print_status(ROOT, make_plan(ROOT, targets))
    return 0


def use_command(preset: str, overrides: Sequence[str], *, wait: bool) -> int:
    """`use`: write params.yaml and say what differs from the default."""
    from pipelines.graph.presets import use_preset
    from pipelines.run.workspace import holding_workspace

    with holding_workspace(ROOT, wait=wait):
        changes = use_preset(ROOT, preset, overrides)
    print(f"params.yaml is preset {preset!r}" + (" with:" if changes else "."))
    for line in changes:
        print(f"  {line}")
    return 0


def freeze_command(names: Sequence[str], *, frozen: bool, wait: bool) -> int:
    """`freeze` and `unfreeze`: write it in dvc.yaml."""
    from pipelines.run.freeze import freeze
    from pipelines.run.workspace import holding_workspace

    with holding_workspace(ROOT, wait=wait):
        freeze(ROOT, names, frozen=frozen)
    return 0


def sweep_command(days: float, gigabytes: float | None) -> int:
    """`memo gc`: remove kept results of single images and say how much."""
    from pipelines.run.memo import sweep

    swept = sweep(ROOT, days=days, gigabytes=gigabytes)
    print(
        f"{swept.removed} results removed ({swept.removed_bytes / 1e6:.1f} MB), "
        f"{swept.left} left ({swept.left_bytes / 1e6:.1f} MB)"
    )
    return 0


def verify_memo_command(targets: Sequence[str], share: float) -> int:
    """`memo verify`: 1 when a kept result is another than the one computed now."""
    from pipelines.run.memo import verify

    return 0 if verify(ROOT, targets, share) else 1


def verify_command(targets: Sequence[str], *, drop: bool) -> int:
    """`verify`: 1 when something is bad and stays."""
    from pipelines.run.verify import print_verified, verify

    verified = verify(ROOT, targets, drop=drop)
    print_verified(verified, " ".join(["python -m pipelines verify", *targets]), drop=drop)
    return 1 if verified.bad and not drop else 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {text}")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"expected more than 0 and at most 1, found {text}")
    return number


def _prepare_prefect() -> None:
    """Before Prefect is imported: no usage statistics; time for its server on a busy machine."""
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")


def _leave_in_order_on_signals() -> None:
    """SIGTERM and SIGHUP end this process as sys.exit does: Prefect stops its server at exit."""

    def leave(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not cut the leaving short
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, leave)


if __name__ == "__main__":
    sys.exit(main())
