"""Prints a Parquet file as pyarrow reads it: its schema and its rows, a line of JSON each."""

import json
import sys

import pyarrow.parquet

table = pyarrow.parquet.read_table(sys.argv[1])
print(json.dumps({field.name: str(field.type) for field in table.schema}))
for row in table.to_pylist():
    print(json.dumps(row, default=str))
