#!/usr/bin/env python3
"""Pushes numbered lines as clients of Grafana Loki do, and again until they are taken.

    loki.py URL SECRET COUNT [--json]

Each line is "event N". By default a push is protobuf packed with snappy, as Promtail and Alloy send
it; with --json it is JSON packed with gzip, as Fluent Bit and Vector can send it. A push that is
answered 429 or 5xx, or not answered, is sent again, so that every line arrives at least once. Prints
how many were pushed. Needs nothing but Python: snappy allows that nothing is compressed.
"""

import gzip
import json
import ssl
import sys
import time
import urllib.error
import urllib.request

CHUNK = 500
# How long a server may be away.
AWAY_SECONDS_MAX = 120


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
    url, secret, count = arguments[0].rstrip("/"), arguments[1], int(arguments[2])
    headers = {"Authorization": f"Bearer {secret}", "X-Scope-OrgID": "fake"}
    if "--json" in sys.argv:
        headers |= {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        pushed = as_json
    else:
        headers |= {"Content-Type": "application/x-protobuf"}
        pushed = as_protobuf
    for start in range(0, count, CHUNK):
        numbers = range(start, min(start + CHUNK, count))
        lines = [(time.time_ns(), f"event {number}") for number in numbers]
        deliver(f"{url}/loki/api/v1/push", headers, pushed(lines))
    print(f"{count} pushed")


def deliver(url, headers, body):
    """Sends one push until it is taken."""
    # The certificate of a test is nobody's.
    context = ssl._create_unverified_context() if url.startswith("https:") else None
    deadline = time.monotonic() + AWAY_SECONDS_MAX
    while True:
        try:
            request = urllib.request.Request(url, body, headers)
            with urllib.request.urlopen(request, timeout=30, context=context):
                return
        except urllib.error.HTTPError as error:
            why = f"{error.code} {error.read().decode()}"
            if error.code != 429 and error.code < 500:
                raise SystemExit(f"refused: {why}")
        except (OSError, ValueError) as error:
            why = error
        if time.monotonic() > deadline:
            raise SystemExit(f"not taken: {why}")
        print(f"again: {why}", file=sys.stderr)
        time.sleep(0.3)


def as_json(lines):
    values = [[str(nanos), line, {"kind": "test"}] for nanos, line in lines]
    stream = {"stream": {"job": "clients.loki", "host": "client"}, "values": values}
    return gzip.compress(json.dumps({"streams": [stream]}).encode())


def as_protobuf(lines):
    entries = b"".join(
        message(2, message(1, timestamp(nanos)) + message(2, line.encode()))
        for nanos, line in lines
    )
    labels = message(1, b'{host="client", job="clients.loki"}')
    return snappy(message(1, labels + entries))


def timestamp(nanos):
    return b"\x08" + varint(nanos // 10**9) + b"\x10" + varint(nanos % 10**9)


def message(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value


def varint(number):
    encoded = b""
    while number >= 0x80:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def snappy(plain):
    """Snappy's block format, of literals alone."""
    packed = varint(len(plain))
    for start in range(0, len(plain), 0x10000):
        literal = plain[start : start + 0x10000]
        packed += b"\xf4" + (len(literal) - 1).to_bytes(2, "little") + literal
    return packed


if __name__ == "__main__":
    sys.exit(main())
