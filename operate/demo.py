"""`tape demo`: `tape run` over a simulated market in which things go wrong, in a directory of its own."""

import click

from operate.cli import Session

# What people call a fault, and what the simulator is to do: often enough to be seen within a minute, and
# seldom enough that the market still looks like one. Slow answers make a hole last long enough to be watched.
FAULTS = {
    "gaps": "drop:0.002,rest_slow:0.5:3",
    "duplicates": "duplicate:0.01",
    "reorder": "reorder:0.003",
    "disconnect": "cut:0.01",
    "freeze": "freeze:0.004:12",
}
# Beside the data of everybody else, never among them.
FOLDER = "demo"

LOOK = """\
a simulated market in which things go wrong: {faults}
look at the page, whose address comes below: a hole opens (amber), is asked for again, and closes (blue)
look at the same in a second terminal:
  {tape} top                   rates, ages, gaps, duplicates
  {tape} tail --stage gap      holes, as they open and close
  {tape} audit                 checks that nothing was lost or stored twice"""


def chosen(text: str) -> str:
    """The simulator's words for these faults; raises TapeError for one that is none."""
    from connectors.errors import unknown

    names = list(filter(None, (name.strip() for name in text.split(","))))
    for name in names:
        if name not in FAULTS:
            raise unknown("fault", name, FAULTS)
    return ",".join(FAULTS[name] for name in dict.fromkeys(names))


@click.command("demo")
@click.option(
    "--faults", default=",".join(FAULTS), show_default=True, metavar="LIST", help="What goes wrong."
)
@click.option("--seconds", metavar="NUMBER", help="Stop after so long.")
@click.pass_obj
def command(session: Session, faults: str, seconds: str | None) -> None:
    """Run a simulated market in which things go wrong, and see them repaired.

    Faults: gaps, duplicates, reorder, disconnect, freeze; Ctrl-C stops.
    """
    from connectors.children import become

    words, directory = chosen(faults), session.settings().data_dir / FOLDER
    click.echo(LOOK.format(faults=faults or "nothing, this time", tape=f"TAPE_DATA_DIR={directory} tape"))
    limit = ["--seconds", seconds] if seconds else []
    become(
        ["operate", *session.words(), "run", "--simulated", *limit],
        TAPE_DATA_DIR=str(directory),
        TAPE_MODE="simulated",
        TAPE_SIMULATOR__FAULTS=words,
    )
