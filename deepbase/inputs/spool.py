"""The result of a query in a temporary file, for results that should not be held in memory.

The file is mapped: its pages come and go as they are looked at, and the system may take them back at any time. It has
no name any more when it is read, so that it vanishes with the last table that shows a part of it, or with the process.
(Windows deletes no file that is in use; there it stays in the folder of temporary files.)
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pyarrow as pa

from deepbase.errors import DatasetError


def room() -> int:
    """Bytes that are free where temporary files are."""
    return shutil.disk_usage(tempfile.gettempdir()).free


def spooled(reader: pa.RecordBatchReader) -> pa.Table:
    """All that a reader gives, as a table that lies in a temporary file.

    Memory: one batch of the reader.

    Raises:
        DatasetError: the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="deepbase-", ignore_cleanup_errors=True) as folder:
        path = str(Path(folder) / "records.arrow")
        try:
            with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, reader.schema) as writer:
                for batch in reader:
                    writer.write_batch(batch)
        except OSError as error:
            raise DatasetError(
                f"records that are read ahead cannot be written to '{tempfile.gettempdir()}': {error}",
                "Make room there, or name another folder in the environment variable TMPDIR.",
            ) from error
        return pa.ipc.open_file(pa.memory_map(path)).read_all()
