"""The `tradewind` command. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import errno
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

app = typer.Typer(
    name="tradewind",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Bars in, an honest verdict out, trades through MetaTrader 5.\n\n"
    "Start with [bold]tradewind demo[/bold]. With your own data: [bold]ingest[/bold] files, look at them with "
    "[bold]data[/bold], train with [bold]retrain[/bold], compare with [bold]leaderboard[/bold], replay with "
    "[bold]backtest[/bold], act with [bold]trade[/bold]. [bold]halt[/bold] stops trading even when all else is down.",
)

Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of all data and settings. Default: TRADEWIND_HOME, else ./.tradewind")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
Pipeline = Annotated[str | None, typer.Option("--pipeline", "-p", help="A pipeline of tradewind.toml.")]
Account = Annotated[
    str | None, typer.Option("--account", "-a", help="An account of tradewind.toml; not needed when there is one.")
]
Symbols = Annotated[str | None, typer.Option("--symbols", help="Comma-separated, for example EURUSD,GBPUSD.")]
Timeframe = Annotated[str | None, typer.Option("--timeframe", "-t", help="M1 M5 M15 M30 H1 H4 D1 ...")]
Start = Annotated[datetime | None, typer.Option("--start", formats=["%Y-%m-%d"], help="First day, UTC.")]
End = Annotated[datetime | None, typer.Option("--end", formats=["%Y-%m-%d"], help="First day left out, UTC.")]

DATA, LEARN, ACT, LOOK = "Data", "Learn", "Act", "Look around"


@app.command(rich_help_panel="Start here")
def demo(
    no_edge: Annotated[
        bool, typer.Option("--no-edge", help="A market without any edge: the honest end is that nothing is promoted.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Another market.", min=0)] = 1,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Bars to trades on the embedded simulated broker, in its own home, in a few minutes."""
    from flows.commands.demo import demo as command

    command(_home(home), edge=not no_edge, seed=seed, as_json=as_json)


@app.command(rich_help_panel=DATA)
def ingest(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Files, folders or globs; recognised by content. None: the feed's terminal.")
    ] = None,
    feed: Annotated[str, typer.Option(help="Name under which these prices are kept.")] = "files",
    symbol: Annotated[str | None, typer.Option(help="Needed when neither file nor name tells.")] = None,
    timeframe: Timeframe = None,
    clock: Annotated[
        str | None, typer.Option(help="Clock of the files: utc, utc+2, eet, cet, ny, ny+7 ... None: the bars tell it.")
    ] = None,
    side: Annotated[str | None, typer.Option(help="Side of files that hold one side and do not say which: bid or ask.")] = None,
    ask_spread: Annotated[
        float | None, typer.Option(min=0, help="Points taken off an ask file that has no bid file beside it.")
    ] = None,
    undo: Annotated[int | None, typer.Option(help="Take back this batch.")] = None,
    reclock: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="FEED RULE", help="Move what the feed has stored to the right clock; `infer`: the bars tell it."),
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Bring bars into the store: exports of MetaTrader and others, csv, Parquet, or a terminal. Every ingest can be undone."""
    from flows.commands.ingest import Asked
    from flows.commands.ingest import ingest as command

    asked = Asked(symbol, timeframe, clock, side, ask_spread)
    command(_home(home), paths or [], feed=feed, asked=asked, undo=undo, reclock=reclock, as_json=as_json)


@app.command(rich_help_panel=DATA)
def data(
    quality: Annotated[bool, typer.Option("--quality", help="Report gaps, spreads, jumps, stale quotes, the clock.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Write each series' report as a page with pictures.")] = False,
    batches: Annotated[bool, typer.Option("--batches", help="List every ingest.")] = False,
    rejects: Annotated[int | None, typer.Option(metavar="BATCH", help="The rows this ingest did not store, and why.")] = None,
    feed: Annotated[str | None, typer.Option(help="Only this feed.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only this symbol.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """What the store holds, and what is odd about it."""
    if rejects is not None:
        from flows.commands.ingest import rejects as show_rejects

        show_rejects(_home(home), rejects, as_json)
        return
    from flows.commands.data import data as command

    command(_home(home), quality=quality or html, html=html, batches=batches, feed=feed, symbol=symbol, as_json=as_json)


@app.command(rich_help_panel=DATA)
def feeds(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[compare A B | map FEED]", help="None: list them. Two feeds to compare, or one to map."),
    ] = None,
    symbol: Annotated[str | None, typer.Option(help="This one only.")] = None,
    timeframe: Timeframe = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Write what `map` proposes into tradewind.toml.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Feeds: list them, compare two of one symbol, or propose what a broker calls our symbols."""
    from flows.commands.feeds import feeds as command

    command(_home(home), words or [], symbol=symbol, timeframe=timeframe, confirm=confirm, as_json=as_json)


@app.command(rich_help_panel=DATA)
def export(
    symbol: Annotated[str, typer.Option(help="For example EURUSD.")],
    timeframe: Annotated[str, typer.Option("--timeframe", "-t", help="M1 M5 M15 M30 H1 H4 D1 ...")],
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    feed: Annotated[str | None, typer.Option(help="Needed when several feeds have the symbol.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write bars as stored to a Parquet file."""
    from flows.commands.data import export as command

    command(_home(home), symbol=symbol, timeframe=timeframe, out=out, feed=feed, as_json=as_json)


@app.command(rich_help_panel=DATA)
def features(
    names: Annotated[list[str] | None, typer.Argument(help="Features or groups of them. None: all.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Try them: no look-ahead, live as history, scale. Generated and stored bars.")
    ] = False,
    page: Annotated[bool, typer.Option("--page", help="Write a page about them on stored bars.")] = False,
    pipeline: Pipeline = None,
    feed: Annotated[str | None, typer.Option(help="Stored bars to use, when several feeds have some.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Stored bars to use, for example EURUSD.")] = None,
    timeframe: Timeframe = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """The features, your own too: what each means, which ones a pipeline uses, whether they keep the contracts."""
    from flows.commands.features import features as command

    code = command(
        _home(home),
        names or [],
        check=check,
        page=page,
        pipeline=pipeline,
        feed=feed,
        symbol=symbol,
        timeframe=timeframe,
        as_json=as_json,
    )
    raise typer.Exit(code)


@app.command(rich_help_panel=LEARN)
def retrain(
    pipeline: Pipeline = None,
    symbols: Symbols = None,
    timeframe: Timeframe = None,
    feed: Annotated[str | None, typer.Option(help="Needed when several feeds have the symbols.")] = None,
    families: Annotated[str, typer.Option(help="Comma-separated, or all.")] = "",
    start: Start = None,
    end: End = None,
    budget: Annotated[str | None, typer.Option(help="Tuning time a family: 90s, 10m, 2h.")] = None,
    trials: Annotated[int | None, typer.Option(help="Tuning trials a family.", min=1)] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Tune and train every family, judge them on the holdout, promote a champion if one has earned it."""
    from flows.commands.learn import retrain as command

    command(
        _home(home),
        pipeline=pipeline,
        symbols=symbols,
        timeframe=timeframe,
        feed=feed,
        families=families,
        start=start,
        end=end,
        budget=budget,
        trials=trials,
        as_json=as_json,
    )


@app.command(rich_help_panel=LEARN)
def leaderboard(pipeline: Pipeline = None, home: Home = None, as_json: Json = False) -> None:
    """Families of the latest retrain side by side, out of sample, with the verdict on each."""
    from flows.commands.learn import leaderboard as command

    command(_home(home), pipeline=pipeline, as_json=as_json)


@app.command(rich_help_panel=LEARN)
def backtest(
    pipeline: Pipeline = None,
    model: Annotated[
        str | None, typer.Option(help="A family of the latest retrain, or a path to an ONNX file. Default: the champion.")
    ] = None,
    start: Start = None,
    end: End = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Replay a model over stored bars with the very decisions live makes, every cost shown."""
    from flows.commands.learn import backtest as command

    command(_home(home), pipeline=pipeline, model=model, start=start, end=end, as_json=as_json)


@app.command(rich_help_panel=ACT)
def trade(
    account: Account = None,
    live: Annotated[str | None, typer.Option(help="LOGIN@SERVER of the real account that may be traded.")] = None,
    bars: Annotated[int | None, typer.Option(help="Stop after this many closed bars.", min=1)] = None,
    until: Annotated[
        datetime | None, typer.Option(help="Stop at this moment, UTC.", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"])
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Trade the champion of each line of an account. Simulated unless the account says otherwise."""
    from flows.commands.act import trade as command

    raise typer.Exit(command(_home(home), account=account, live=live, bars=bars, until=until, as_json=as_json))


@app.command(rich_help_panel=LOOK)
def status(account: Account = None, home: Home = None, as_json: Json = False) -> None:
    """What each account is doing: state, equity, the day's loss, positions, last decision."""
    from flows.commands.act import status as command

    command(_home(home), account=account, as_json=as_json)


@app.command(rich_help_panel=LOOK)
def why(
    account: Account = None,
    last: Annotated[int, typer.Option(help="How many decisions.", min=1)] = 10,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Why the last bars were traded or not: probabilities, and the first rule that said no."""
    from flows.commands.act import why as command

    command(_home(home), account=account, last=last, as_json=as_json)


def _control(name: str, text: str) -> None:
    """Add one of the four commands that work with everything else down."""

    def command(
        account: Account = None,
        reason: Annotated[str, typer.Option(help="Kept in the journal.")] = "by hand",
        home: Home = None,
        as_json: Json = False,
    ) -> None:
        from flows.commands.act import control

        control(_home(home), name, account=account, reason=reason, as_json=as_json)

    command.__doc__ = text
    app.command(name, rich_help_panel=ACT)(command)


_control("halt", "No new orders, at once. Stays until `resume`.")
_control("reduce", "Only orders that close. Stays until `resume`.")
_control("resume", "Trade again after `halt`, `reduce` or a risk rule. Only a person does this.")
_control("flatten", "Close every position this account's trader opened, then halt.")


verify_app = typer.Typer(no_args_is_help=True, help="Measure what the product claims, on made-up cases with known truth.")
app.add_typer(verify_app, name="verify", rich_help_panel=LOOK)


@verify_app.command("clock")
def verify_clock(
    cases: Annotated[int, typer.Option(help="How many made-up files.", min=1)] = 10_000,
    seed: Annotated[int, typer.Option(help="Other files.", min=0)] = 1,
    as_json: Json = False,
) -> None:
    """How often the clock of a file is told, refused or told wrong; fails when any is wrong."""
    from flows.commands.verify import clock as command

    raise typer.Exit(command(cases=cases, seed=seed, as_json=as_json))


@verify_app.command("gate")
def verify_gate(
    seeds: Annotated[int, typer.Option(help="How many markets without an edge, and with the default one.", min=1)] = 20,
    features: Annotated[str, typer.Option(help="Names or groups of features, by commas.")] = "all",
    as_json: Json = False,
) -> None:
    """How often the gate promotes on markets without an edge and with one; whole retrains, half a minute each on a core."""
    from flows.commands.verify import gate as command

    raise typer.Exit(command(seeds=seeds, features=features, as_json=as_json))


@app.command(rich_help_panel=LOOK)
def config(home: Home = None, as_json: Json = False) -> None:
    """The settings in force and where each comes from. Secrets are never shown."""
    from flows.commands.look import config as command

    command(_home(home), as_json=as_json)


@app.command(rich_help_panel=LOOK)
def doctor(home: Home = None, as_json: Json = False) -> None:
    """Which devices each backend will really use; whether store, MLflow and terminal answer; what to do about it."""
    from flows.commands.look import doctor as command

    raise typer.Exit(command(_home(home), as_json=as_json))


def _home(flag: Path | None) -> tuple[Path, bool]:
    from flows.settings import home_folder

    return home_folder(flag)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def main() -> NoReturn:
    """Run the command; any failure is one line on stderr and a non-zero exit status.

    1 wrong or impossible, 2 wrong usage, 3 may succeed later, 70 a fault of Tradewind itself, 130 interrupted.
    """
    from typer.exceptions import TyperException

    from feature_store import _errors as data_errors
    from flows._errors import FlowError
    from model_zoo import _errors as model_errors
    from serving import _errors as serving_errors
    from tasks import _errors as task_errors

    os.environ.setdefault("PYTHONUTF8", "1")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")
    modules: list[Any] = [data_errors, model_errors, serving_errors, task_errors]
    retryable = tuple(m.Retryable for m in modules)
    known = (
        data_errors.FeatureStoreError,
        model_errors.ModelZooError,
        serving_errors.ServingError,
        task_errors.TaskError,
        FlowError,
    )
    try:
        code = app(prog_name="tradewind", standalone_mode=False) or 0
    except TyperException as error:
        _end(_usage(error), error.exit_code)
    except known as error:
        _end(_one_line(error), 3 if isinstance(error, retryable) else 1)
    except OSError as error:
        _end(_one_line(error) + ("; free some where the home lies" if error.errno == errno.ENOSPC else ""), 1)
    except Exception as error:
        if type(error).__name__ == "OperationalError":  # SQLite's: of journal, ledger and MLflow's database
            _end(f"{_one_line(error)}: is the disk full, or the home not to be written?", 1)
        from flows.crash import record

        _end(record(error), 70)
    if code == 130:  # what Typer makes of Ctrl-C
        from flows.interrupt import SAID

        _end(SAID, code)
    _end("", code)


def _usage(error: Any) -> str:
    """What was wrong with the arguments; nothing when there were none, for which Typer printed the help."""
    said = error.format_message().strip().rstrip(".").replace("Value error, ", "")
    command = error.ctx.command_path if getattr(error, "ctx", None) is not None else "tradewind"
    return f"{' '.join(said.split())}; see: {command} --help" if said else ""


def _end(line: str, code: int) -> NoReturn:
    if line:
        print(f"tradewind: {line}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


if __name__ == "__main__":
    main()
