"""What all commands share."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import UseAppendAction, arg

from mbdcnn.errors import UserError
from mbdcnn.system.processes import Processes
from mbdcnn.system.progress import Progress, bar

if TYPE_CHECKING:
    from mbdcnn.config import Config

NOTICE = "For research and education; not a medical device."

Settings = Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="KEY=VALUE")]


@dataclass(kw_only=True)
class Verb(ABC):
    """What all commands share."""

    shared: ClassVar[bool] = False
    """Whether several processes may share the work."""

    quiet: Annotated[bool, arg(aliases=["-q"])] = False
    """Draw no progress bars."""
    verbose: Annotated[bool, arg(aliases=["-v"])] = False
    """Say more about what is done."""

    def check_processes(self) -> None:
        """Raise a UserError if several processes were started for what one has to do."""
        count = Processes.started().count
        if count > 1 and not self.shared:
            raise UserError(f"{count} processes were started, but this command works in one; start it alone")

    def when_stopped(self) -> str:
        """Say in a few words what becomes of work that was interrupted."""
        return "nothing was written, and what was there is as it was"

    def when_out_of_memory(self) -> str:
        """Say what helps where the GPU has too little memory."""
        given = "give --device cpu" if hasattr(self, "device") else "set CUDA_VISIBLE_DEVICES to nothing"
        return f"{given} to do without it"

    @abstractmethod
    def run(self) -> None:
        """Do the work; raise a UserError for errors of the user."""

    def say(self, line: str) -> None:
        """Tell something while working."""
        if not self.quiet:
            print(line, file=sys.stderr)

    def bar(self, title: str, *, of_bytes: bool = False) -> AbstractContextManager[Progress]:
        """Open a progress bar, in the first of several processes."""
        return bar(title, quiet=self.quiet or not Processes.started().first, of_bytes=of_bytes)


@dataclass(kw_only=True)
class Configured(Verb):
    """Commands that follow a configuration."""

    config: Annotated[str | None, arg(metavar="NAME|FILE")] = None
    """paper, compact, finetune, demo, bundled (the model that comes with the package), a YAML file, or a run or bundle
    whose settings are used again. The paper's if not given."""
    settings: Settings = ()
    """Override one setting, such as `coarse.training.length="10 epochs"`; may be given several times."""

    def load(self) -> Config:
        """Resolve the configuration."""
        # Not before it is needed: it is half the time that `mbdcnn --help` takes.
        from mbdcnn.config import load_config

        return load_config(self.config, self.settings)
