"""The `mbdcnn` command: each verb a dataclass with `run()`, its heavy imports inside.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C, 143 by SIGTERM. What goes wrong is one line on
standard error.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from difflib import get_close_matches
from io import TextIOWrapper

import tyro

from mbdcnn._version import __version__
from mbdcnn.cli.data import Download, Prepare
from mbdcnn.cli.evaluate import Evaluate
from mbdcnn.cli.export import Export
from mbdcnn.cli.info import Info
from mbdcnn.cli.predict import Predict
from mbdcnn.cli.serving import Serve
from mbdcnn.cli.stopping import Stop, stoppable
from mbdcnn.cli.training import BundleRuns, Demo, ImportWeights, Masks, RunAll, Train
from mbdcnn.cli.verb import NOTICE, Verb
from mbdcnn.errors import UserError, on_one_line
from mbdcnn.system.extras import extra_of, not_installed

VERBS: dict[str, Callable[..., Verb]] = {
    "demo": Demo,
    "download": Download,
    "prepare": Prepare,
    "train": Train,
    "masks": Masks,
    "bundle": BundleRuns,
    "import-weights": ImportWeights,
    "run": RunAll,
    "evaluate": Evaluate,
    "predict": Predict,
    "export": Export,
    "serve": Serve,
    "info": Info,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        print(f"mbdcnn {__version__}")
        return
    verb = parse(arguments)
    if isinstance(sys.stdout, TextIOWrapper):
        # A file's name may hold what the terminal's encoding does not.
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.INFO if verb.verbose else logging.WARNING, format="%(message)s")
    # What Pillow says of odd files names none of them, and what cannot be read is told.
    warnings.filterwarnings("ignore", module="PIL")
    with stoppable() as stop:
        code = _run(verb, stop)
    sys.exit(code)


def parse(arguments: list[str]) -> Verb:
    """Turn a command line into a verb, or exit with the reason and code 2."""
    if arguments and not arguments[0].startswith("-") and arguments[0] not in VERBS:
        close = get_close_matches(arguments[0], VERBS, 1)
        meant = f"did you mean {close[0]}?" if close else f"there are {', '.join(VERBS)}"
        print(f"mbdcnn: {on_one_line(arguments[0])}: no such command; {meant}", file=sys.stderr)
        sys.exit(2)
    verb: Verb = tyro.extras.subcommand_cli_from_dict(
        VERBS,
        prog="mbdcnn",
        description=f"MB-DCNN: outline a skin lesion and classify it. {NOTICE}",
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes),
    )
    return verb


def _run(verb: Verb, stop: Stop) -> int:
    code = 1
    try:
        verb.check_processes()
        verb.run()
    except UserError as error:
        message = str(error)
    except KeyboardInterrupt:
        message, code = f"stopped; {verb.when_stopped()}", stop.code
    except ModuleNotFoundError as error:
        extra = extra_of(error.name or "")
        if extra is None:
            raise
        name = next(name for name, kind in VERBS.items() if type(verb) is kind)
        message = str(not_installed(name, extra))
    except OSError as error:
        message = f"{error.filename or 'output'}: {error.strerror or error}"
    except Exception as error:
        # Told by name because torch may not be loaded.
        if type(error).__name__ != "OutOfMemoryError":
            raise
        message = f"the GPU has too little memory; {verb.when_out_of_memory()}"
    else:
        return 0
    print(f"mbdcnn: {message}", file=sys.stderr)
    return code
