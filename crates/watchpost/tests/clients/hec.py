#!/usr/bin/env python3
"""Sends numbered events to Splunk's HTTP Event Collector with a channel, and asks for the
acknowledgement of each request. Survives a restart of the server.

    hec.py URL SECRET COUNT [SOURCETYPE]

Each event is {"time": ..., "event": {"number": n, "message": "event n"}, ...}. A request that is
refused for want of room (429, 503), could not be delivered, or is not acknowledged is sent again, so
that every event arrives at least once. Prints how many were acknowledged, and ends with 1 if one
was not. Needs nothing but Python.
"""

import json
import ssl
import sys
import time
import urllib.error
import urllib.request
import uuid

CHUNK = 500
# How long a server may be away.
AWAY_SECONDS_MAX = 120


class Again(Exception):
    """The request is to be sent again."""


def main():
    url, secret, count = sys.argv[1].rstrip("/"), sys.argv[2], int(sys.argv[3])
    sourcetype = sys.argv[4] if len(sys.argv) > 4 else "clients.hec"
    headers = {
        "Authorization": f"Splunk {secret}",
        "X-Splunk-Request-Channel": str(uuid.uuid4()),
        "Content-Type": "application/json",
    }
    acknowledged = 0
    for start in range(0, count, CHUNK):
        numbers = range(start, min(start + CHUNK, count))
        deliver(url, headers, "".join(event(number, sourcetype) for number in numbers))
        acknowledged += len(numbers)
    print(f"{acknowledged} acknowledged, {count - acknowledged} refused")
    return 0 if acknowledged == count else 1


def deliver(url, headers, body):
    """Sends one chunk until it is acknowledged."""
    deadline = time.monotonic() + AWAY_SECONDS_MAX
    while True:
        try:
            answer = post(url + "/services/collector/event", headers, body)
            ack_id = answer["ackId"]
            question = json.dumps({"acks": [ack_id]})
            known = post(url + "/services/collector/ack", headers, question)["acks"]
            if known[str(ack_id)]:
                return
            raise Again(f"{ack_id} is not acknowledged")
        except Again as why:
            if time.monotonic() > deadline:
                raise
            print(f"again: {why}", file=sys.stderr)
            time.sleep(0.3)


def post(url, headers, body):
    # The certificate of a test is nobody's.
    context = ssl._create_unverified_context() if url.startswith("https:") else None
    request = urllib.request.Request(url, body.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        if error.code in (429, 503):
            raise Again(text) from error
        raise SystemExit(f"refused: {error.code} {text}")
    except (OSError, ValueError) as error:
        # No connection, no answer, or half of one.
        raise Again(error) from error


def event(number, sourcetype):
    envelope = {
        "time": round(time.time(), 3),
        "host": "client",
        "sourcetype": sourcetype,
        "event": {"number": number, "message": f"event {number}"},
    }
    return json.dumps(envelope) + "\n"


if __name__ == "__main__":
    sys.exit(main())
