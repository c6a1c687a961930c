"""Tables of pyarrow: as Parquet and back, and their numbers as arrays.

pyarrow imports pandas, where it is installed, for much that does without: a third of a second that is saved here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # it takes a tenth of a second to import
    import pyarrow as pa


def encode_parquet(table: pa.Table) -> bytes:
    """A pyarrow table as the content of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    return buffer.getvalue().to_pybytes()


def decode_parquet(data: bytes, columns: list[str] | None = None, dictionaries: Sequence[str] = ()) -> pa.Table:
    """The pyarrow table that is the content of a Parquet file, or these columns of it. dictionaries: columns of texts whose
    words are kept once.

    It is read in memory of Arrow's own. Python's would be let go by a thread of Arrow, maybe while Python ends, which aborts
    the process: seen in one of four that read a table just before.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    buffer.write(data)
    # Not pq.read_table, which imports pandas.
    file = pq.ParquetFile(pa.BufferReader(buffer.getvalue()), read_dictionary=dictionaries)
    return file.read(columns, use_threads=False)


def view_numbers(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Numbers of a pyarrow table as an array that can't be written to. Raises pa.ArrowException if one is missing.

    Not by np.asarray, which imports pandas.
    """
    return np.from_dlpack(get_chunk(column) if hasattr(column, "chunks") else column)


def get_chunk(column: pa.ChunkedArray) -> pa.Array:
    """A column of a pyarrow table as one array, which is a copy only if it has several chunks."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
