#!/usr/bin/env python3
"""Sends numbered events with the Elasticsearch client, and survives a restart of the server.

    elasticsearch_bulk.py URL SECRET COUNT [INDEX]

Each event is {"number": n, "message": "event n", "@timestamp": ...}. What is refused for want of
room (429), or could not be delivered (no connection, no answer, 5xx), is sent again, so that every
event arrives at least once. Prints how many were acknowledged, and ends with 1 if one was not.
"""

import datetime
import sys
import time
import warnings

from elasticsearch import ApiError, ConnectionError, ConnectionTimeout, Elasticsearch, helpers

CHUNK = 500
# How long a server may be away.
AWAY_SECONDS_MAX = 120


def main():
    url, secret, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    index = sys.argv[4] if len(sys.argv) > 4 else "logs-clients.elasticsearch-default"
    # The certificate of a test is nobody's.
    warnings.filterwarnings("ignore")
    secured = {"verify_certs": False, "ssl_show_warn": False} if url.startswith("https:") else {}
    client = Elasticsearch(
        url, api_key=secret, retry_on_timeout=True, max_retries=2, request_timeout=30, **secured
    )
    acknowledged = refused = 0
    for start in range(0, count, CHUNK):
        numbers = range(start, min(start + CHUNK, count))
        for ok, item in deliver(client, index, numbers):
            acknowledged += ok
            refused += not ok
            if not ok:
                print("refused:", item, file=sys.stderr)
    print(f"{acknowledged} acknowledged, {refused} refused")
    return 0 if acknowledged == count else 1


def deliver(client, index, numbers):
    """Sends one chunk until the server has answered for it. The helper itself repeats what is
    answered with 429, but takes a server that is away for an error, at once."""
    deadline = time.monotonic() + AWAY_SECONDS_MAX
    while True:
        try:
            return list(
                helpers.streaming_bulk(
                    client,
                    (action(index, number) for number in numbers),
                    chunk_size=CHUNK,
                    max_retries=20,
                    initial_backoff=0.2,
                    max_backoff=2,
                    raise_on_error=False,
                )
            )
        except (ConnectionError, ConnectionTimeout, ApiError) as error:
            status = getattr(error, "status_code", None)
            if (status is not None and status < 500) or time.monotonic() > deadline:
                raise
            print(f"again: {error}", file=sys.stderr)
            time.sleep(0.3)


def action(index, number):
    now = datetime.datetime.now(datetime.timezone.utc).isoformat()
    return {
        "_op_type": "create",
        "_index": index,
        "@timestamp": now,
        "number": number,
        "message": f"event {number}",
    }


if __name__ == "__main__":
    sys.exit(main())
