#!/usr/bin/env python3
"""Sends numbered lines of syslog over TLS as fast as it can, reads nothing, and closes.

    tls_lines.py CA PORT COUNT
"""

import socket
import ssl
import sys

ca, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
context = ssl.create_default_context(cafile=ca)
plain = socket.create_connection(("127.0.0.1", port))
with context.wrap_socket(plain, server_hostname="localhost") as stream:
    for start in range(0, count, 500):
        lines = (
            f"<14>1 2026-11-24T12:00:00Z client app - - - event {number} {'x' * 200}\n"
            for number in range(start, min(start + 500, count))
        )
        stream.sendall("".join(lines).encode())
