"""Commands that get and prepare images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from mbdcnn.cli.verb import Configured, Verb
from mbdcnn.errors import UserError

Extra = Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="PATH")]


@dataclass(kw_only=True)
class Download(Verb):
    """Get ISIC-2017, or images of the ISIC Archive by id; what was interrupted resumes where it stopped."""

    what: Positional[Literal["isic2017", "extra"]]
    """The challenge data, or the images that `--ids` lists, to train the classifier with."""
    to: Path
    """Folder to write."""
    splits: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test")
    """Which of ISIC-2017."""
    ids: Path | None = None
    """Text file with an id such as ISIC_0000005 a line, or CSV file with a column isic_id."""
    base_url: str | None = None
    """Address of a mirror of the challenge data, or of another archive's API."""

    def when_stopped(self) -> str:
        """Say that nothing is lost."""
        return "run the same command again to resume"

    def run(self) -> None:
        """Download and say where everything lies."""
        if self.what == "isic2017":
            self._isic2017()
        elif self.ids is None:
            raise UserError("download extra: give --ids, a file with the ids of the images")
        else:
            self._extra(self.ids)

    def _isic2017(self) -> None:
        from mbdcnn.data.download.isic2017 import BASE_URL, download_isic2017

        with self.bar("download", of_bytes=True) as progress:
            archives = download_isic2017(self.to, self.splits, base_url=self.base_url or BASE_URL, progress=progress)
        print(f"{self.to}: complete; next: mbdcnn prepare {self.to} data")
        if archives:
            gigabytes = sum(file.stat().st_size for file in archives) / 1e9
            print(f"{len(archives)} zip files ({gigabytes:.1f} GB) there are no longer needed and may be removed")

    def _extra(self, ids: Path) -> None:
        from mbdcnn.data.download.isic_archive import API_URL, download_extra

        with self.bar("download") as progress:
            extra = download_extra(ids, self.to, api=self.base_url or API_URL, progress=progress)
        classes = ", ".join(f"{name} {count}" for name, count in extra.classes.items())
        print(f"{extra.table}: {sum(extra.classes.values())} images ({classes}); next: prepare or run with --extra")
        if extra.left_out:
            print(f"{len(extra.left_out)} left out, the reasons are in {self.to / 'left_out.csv'}")


@dataclass(kw_only=True)
class Prepare(Configured):
    """Turn raw images into arrays: ISIC-2017, PH2, the authors' folders, or your own CSV table."""

    raw: Positional[Path]
    """Folder or CSV file of images, masks and labels."""
    data: Positional[Path]
    """Folder to write."""
    extra: Extra = ()
    """More images in one of these layouts, such as the table of `download extra`; may be given several times."""
    overwrite: bool = False
    """Replace what was prepared of other images or with other settings."""

    def run(self) -> None:
        """Prepare and say what was found."""
        from mbdcnn.data.prepare import prepare, summary_lines

        with self.bar("prepare") as progress:
            data = prepare(self.raw, self.data, self.load(), progress, extra=self.extra, overwrite=self.overwrite)
        print(*summary_lines(data), sep="\n")
