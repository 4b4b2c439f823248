"""Iceberg's files: one on a local disk is there after a power cut, its name included, before anybody uses it.

PyIceberg loads the class by the name in `NAME`. Stores that are not a disk acknowledge what they have.
"""

import os
from contextlib import suppress
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import cast

from pyiceberg.io import InputFile, OutputFile, OutputStream
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

from connectors.disk import make_folder, sync_folder

NAME = "connectors.files.SyncedFiles"


class SyncedFiles(PyArrowFileIO):
    """PyArrow's files, but for local ones that are written."""

    def new_output(self, location: str) -> PyArrowFile:
        """A file to write."""
        plain = super().new_output(location)
        scheme, _, path = self.parse_location(location, self.properties)
        return LocalFile(location, path, plain._filesystem) if scheme == "file" else plain

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Remove a file; one that somebody else has removed is gone as well."""
        with suppress(FileNotFoundError):
            super().delete(location)


class LocalFile(PyArrowFile):
    """A file on a disk of this machine."""

    def create(self, overwrite: bool = False) -> OutputStream:
        """A stream whose end makes the file durable."""
        path = Path(self._path)
        make_folder(path.parent)
        return cast(OutputStream, BufferedWriter(Synced(path, "wb" if overwrite else "xb")))


class Synced(FileIO):
    """Forced to disk before it is closed."""

    def __init__(self, path: Path, mode: str) -> None:
        super().__init__(path, mode)
        self._folder = path.parent

    def close(self) -> None:
        """Bytes first, then the name."""
        if not self.closed:
            os.fsync(self.fileno())
            sync_folder(self._folder)
        super().close()
