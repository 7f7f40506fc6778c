"""Bring the graph up to date: `run`, `status`, `use`, `freeze`, `new-stage`, `memo` ..."""

import argparse
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any


def add_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to the command line."""
    run = commands.add_parser("run", help="bring the graph, or some stages of it, up to date")
    run.add_argument("target", nargs="*", help="stages, with all they depend on; default: all")
    run.add_argument("--local", action="store_true", help="without Prefect: starts at once")
    run.add_argument("--jobs", type=_positive, help="stages at once; default SEEDMASK_JOBS or 2")
    run.add_argument(
        "--pull", action="store_true", help="what DVC's remote has, instead of running"
    )
    run.add_argument("--dask", metavar="tcp://HOST:PORT", help="images on a Dask cluster's workers")
    run.add_argument("--wait", action="store_true", help="for another run in this workspace")
    run.set_defaults(act=run_command)

    status = commands.add_parser("status", help="what `run` would do")
    status.add_argument("target", nargs="*", help="as for run")
    status.set_defaults(act=status_command)

    use = commands.add_parser("use", help="write params.yaml from a preset")
    use.add_argument("preset", help="a file in presets/, such as default")
    use.add_argument("override", nargs="*", help="section.key=value")
    use.add_argument("--wait", action="store_true", help="for a run in this workspace")
    use.set_defaults(act=use_command)

    for name, text in (
        ("freeze", "keep what stages made, whatever becomes of their inputs"),
        ("unfreeze", "let them follow their inputs again"),
    ):
        freeze = commands.add_parser(name, help=text)
        freeze.add_argument("stage", nargs="+", help="as in dvc.yaml")
        freeze.add_argument("--wait", action="store_true", help="for a run in this workspace")
        freeze.set_defaults(act=freeze_command, frozen=name == "freeze")

    new = commands.add_parser("new-stage", help="write a stub of a stage in its five places")
    new.add_argument("name", help="such as regions_label")
    new.add_argument("--wait", action="store_true", help="for a run in this workspace")
    new.set_defaults(act=new_stage_command)

    memo = commands.add_parser("memo", help="the kept results of single images")
    kinds = memo.add_subparsers(dest="kind", required=True)
    gc = kinds.add_parser("gc", help="remove what was not used for long")
    gc.add_argument("--days", type=float, default=30, help="since the last use; default 30")
    gc.add_argument("--gigabytes", type=float, help="at most so much stays")
    gc.set_defaults(act=memo_gc_command)
    verify = kinds.add_parser("verify", help="compute a sample again and compare byte for byte")
    verify.add_argument("target", nargs="*", help="as for run")
    verify.add_argument("--share", type=_share, default=0.01, help="of the results; default 0.01")
    verify.set_defaults(act=memo_verify_command)

    whole = commands.add_parser("verify", help="hash all that is kept: cache, data/, memo ...")
    whole.add_argument("target", nargs="*", help="stages; default: all, and all of DVC's cache")
    whole.add_argument("--drop", action="store_true", help="remove what is bad; `run` mends it")
    whole.set_defaults(act=verify_command)


def run_command(root: Path, arguments: argparse.Namespace) -> int:
    """`run`: plan, check the parameters, run, show what came out."""
    from pipelines.run.rebuild import rebuild
    from pipelines.run.runner import run_local

    if arguments.dask:
        os.environ["SEEDMASK_DASK"] = arguments.dask
    targets: list[str] = arguments.target
    options: dict[str, Any] = {
        "jobs": arguments.jobs,
        "wait": arguments.wait,
        "pull": arguments.pull,
    }
    if arguments.local or not _is_pending(root, targets, wait=arguments.wait):
        local = ["--local"] if arguments.local else []
        resume = " ".join(["./seedmask run", *targets, *local])
        rebuilt = rebuild(root, targets, run_local, resume=resume, **options)
        return 1 if rebuilt.missing else 0
    _prepare_prefect()
    _leave_in_order_on_signals()
    from pipelines.run.flow import seedmask

    end = seedmask(targets, **options, return_state=True)
    if isinstance(end.data, Exception):  # not a stage: what was asked for, or Prefect
        raise end.data
    return 0 if end.is_completed() else 1


def _is_pending(root: Path, targets: Sequence[str], *, wait: bool) -> bool:
    """Whether there is something to do, for which Prefect's server is worth its start."""
    from pipelines.graph.params import check_params
    from pipelines.graph.plan import make_plan
    from pipelines.run.workspace import holding_workspace

    with holding_workspace(root, wait=wait):
        check_params(root)
        return bool(make_plan(root, targets).pending)


def status_command(root: Path, arguments: argparse.Namespace) -> None:
    """`status`: a table of the stages and what `run` would do with each."""
    from pipelines.graph.params import check_params
    from pipelines.graph.plan import make_plan
    from pipelines.run.summary import print_status
    from pipelines.run.workspace import check_lock_file, check_own_folder

    check_own_folder(root)
    check_lock_file(root)
    check_params(root)
    print_status(root, make_plan(root, arguments.target))


def use_command(root: Path, arguments: argparse.Namespace) -> None:
    """`use`: write params.yaml and say what differs from the default."""
    from pipelines.graph.presets import use_preset
    from pipelines.run.workspace import holding_workspace

    with holding_workspace(root, wait=arguments.wait):
        changes = use_preset(root, arguments.preset, arguments.override)
    print(f"params.yaml is preset {arguments.preset!r}" + (" with:" if changes else "."))
    for line in changes:
        print(f"  {line}")


def freeze_command(root: Path, arguments: argparse.Namespace) -> None:
    """`freeze` and `unfreeze`: write it in dvc.yaml."""
    from pipelines.run.freeze import freeze
    from pipelines.run.workspace import holding_workspace

    with holding_workspace(root, wait=arguments.wait):
        freeze(root, arguments.stage, frozen=arguments.frozen)


def new_stage_command(root: Path, arguments: argparse.Namespace) -> None:
    """`new-stage`: write it and say where."""
    from pipelines.graph.new_stage import new_stage
    from pipelines.run.workspace import holding_workspace

    with holding_workspace(root, wait=arguments.wait):
        written = new_stage(root, arguments.name)
    print("\n".join(map(str, written)))
    print(f"now: ./seedmask run {arguments.name}; docs/extending.md")


def memo_gc_command(root: Path, arguments: argparse.Namespace) -> None:
    """`memo gc`: remove kept results of single images and say how much."""
    from pipelines.run.memo import sweep

    swept = sweep(root, days=arguments.days, gigabytes=arguments.gigabytes)
    print(
        f"{swept.removed} results removed ({swept.removed_bytes / 1e6:.1f} MB), "
        f"{swept.left} left ({swept.left_bytes / 1e6:.1f} MB)"
    )


def memo_verify_command(root: Path, arguments: argparse.Namespace) -> int:
    """`memo verify`: 1 when a kept result is another than the one computed now."""
    from pipelines.run.memo import verify

    return 0 if verify(root, arguments.target, arguments.share) else 1


def verify_command(root: Path, arguments: argparse.Namespace) -> int:
    """`verify`: 1 when something is bad and stays."""
    from pipelines.run.verify import print_verified, verify

    targets: list[str] = arguments.target
    verified = verify(root, targets, drop=arguments.drop)
    command = " ".join(["./seedmask verify", *targets])
    print_verified(verified, command, drop=arguments.drop)
    return 1 if verified.bad and not arguments.drop else 0


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
