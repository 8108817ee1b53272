"""DuckDB: one table of the events, read from the lines. Speaks JSON lines on its standard streams.

{"load": LINES, "folder": FOLDER}                       -> {"seconds": S, "bytes": B}
{"ask": SQL, "filter": BOOL, "rounds": N}               -> {"hits": H, "seconds": [first, ...]}
"""

import json
import os
import sys
import time

import duckdb

# Every field of the made-up events; recorded ones have hundreds more, which stay JSON.
COLUMNS = {
    "@timestamp": "TIMESTAMP",
    "message": "VARCHAR",
    "event": "STRUCT(id VARCHAR, code VARCHAR, dataset VARCHAR, kind VARCHAR, action VARCHAR, outcome VARCHAR, original VARCHAR)",
    "host": "STRUCT(name VARCHAR, os STRUCT(type VARCHAR))",
    "user": "STRUCT(name VARCHAR, domain VARCHAR, id VARCHAR)",
    "process": "STRUCT(name VARCHAR, pid BIGINT, entity_id VARCHAR, executable VARCHAR, command_line VARCHAR)",
    "source": "STRUCT(ip VARCHAR, port BIGINT, bytes BIGINT)",
    "destination": "STRUCT(ip VARCHAR, port BIGINT, bytes BIGINT)",
    "winlog": "JSON",
    "watchpost": "JSON",
    "network": "JSON",
    "observer": "JSON",
}


def main():
    connection = None
    for line in sys.stdin:
        call = json.loads(line)
        if "load" in call:
            path = os.path.join(call["folder"], "events.duckdb")
            connection = duckdb.connect(path)
            connection.execute("set threads = 2")
            started = time.monotonic()
            columns = ", ".join(f"'{name}': '{kind}'" for name, kind in COLUMNS.items())
            connection.execute(
                f"create table events as select * from read_json('{call['load']}',"
                f" format = 'newline_delimited', columns = {{{columns}}}, maximum_object_size = 33554432,"
                " ignore_errors = true)"
            )
            connection.execute("checkpoint")
            took = time.monotonic() - started
            answer = {"seconds": took, "bytes": os.path.getsize(path)}
        else:
            seconds = []
            for _ in range(call["rounds"] + 1):
                started = time.monotonic()
                if call["filter"]:
                    where = call["ask"]
                    hits = connection.execute(f"select count(*) from events where {where}").fetchone()[0]
                    connection.execute(
                        "select time_bucket(interval 1728 seconds, \"@timestamp\"), count(*)"
                        f" from events where {where} group by 1"
                    ).fetchall()
                    connection.execute(
                        f"select * from events where {where} order by \"@timestamp\" desc limit 100"
                    ).fetchall()
                else:
                    connection.execute(call["ask"]).fetchall()
                    hits = connection.execute("select count(*) from events").fetchone()[0]
                seconds.append(time.monotonic() - started)
            answer = {"hits": hits, "seconds": seconds}
        print(json.dumps(answer), flush=True)


main()
