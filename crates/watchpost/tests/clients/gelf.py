#!/usr/bin/env python3
"""Sends numbered events as GELF with graypy: over TCP, or over UDP, gzipped and in chunks.

    gelf.py HOST PORT COUNT [--tcp | --udp]

Each twentieth message is large enough to be cut into chunks. GELF has no acknowledgements: it prints
how many were sent. Needs `pip install graypy==2.1.0`.
"""

import logging
import random
import sys
import time

import graypy

# So many messages a second: datagrams cannot be held back, and what is logged while there is no
# connection is dropped.
RATE = 1000


def main():
    host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    is_udp = "--udp" in sys.argv[4:]
    handler = graypy.GELFUDPHandler if is_udp else graypy.GELFTCPHandler
    logger = logging.getLogger("clients.gelf")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler(host, port))
    for number in range(count):
        extra = {"number": number}
        if number % 20 == 0:
            extra["large"] = random.randbytes(4000).hex()
        logger.info("event %d", number, extra=extra)
        if number % 100 == 99:
            time.sleep(100 / RATE)
    logging.shutdown()
    print(f"{count} sent")
    return 0


if __name__ == "__main__":
    sys.exit(main())
