#!/usr/bin/env python3
"""Sends numbered log records through OpenTelemetry's SDK for Python: its logger, its batch processor,
its exporter for OTLP with the retries that it has.

    otlp.py URL SECRET COUNT [--grpc]

The body of each record is "event N". Over HTTP it is protobuf packed with gzip, with --grpc it is
gRPC. The exporter gives a batch up after some seconds; what it so reports as failed is exported
again here, for as long as a server may be away, so that every record arrives at least once. Prints
how many were exported, and ends with 1 if one was not.

Needs opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http, or -grpc.
"""

import sys
import time

from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry.sdk.resources import Resource

BATCH = 500
# How long a server may be away.
AWAY_SECONDS_MAX = 120
# How long the exporter itself tries to deliver a batch.
EXPORT_SECONDS_MAX = 10


class Persistent(LogRecordExporter):
    """An exporter that does not give up at once."""

    def __init__(self, exporter):
        self.exporter = exporter
        self.exported = 0

    def export(self, batch):
        deadline = time.monotonic() + AWAY_SECONDS_MAX
        while (result := self.exporter.export(batch)) is not LogRecordExportResult.SUCCESS:
            if time.monotonic() > deadline:
                return result
            print(f"again: {len(batch)} records", file=sys.stderr)
            time.sleep(0.3)
        self.exported += len(batch)
        return result

    def shutdown(self):
        self.exporter.shutdown()

    def force_flush(self, timeout_millis=10_000):
        return True


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--grpc"]
    url, secret, count = arguments[0].rstrip("/"), arguments[1], int(arguments[2])
    make = grpc_exporter if "--grpc" in sys.argv else http_exporter
    exporter = Persistent(make(url, secret))
    processor = BatchLogRecordProcessor(
        exporter,
        schedule_delay_millis=200,
        max_export_batch_size=BATCH,
        # The processor drops what does not fit.
        max_queue_size=max(count, BATCH),
    )
    resource = Resource.create({"service.name": "clients.otlp", "host.name": "client"})
    provider = LoggerProvider(resource=resource)
    provider.add_log_record_processor(processor)
    logger = provider.get_logger("clients", "1")
    for number in range(count):
        logger.emit(
            timestamp=time.time_ns(),
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            body=f"event {number}",
            attributes={"number": number, "tags": ["a", "b"], "ratio": 0.5},
        )
    # A shutdown of the provider waits 30 s for the last batches, so they go before it.
    processor.force_flush()
    provider.shutdown()
    print(f"{exporter.exported} exported, {count - exporter.exported} failed")
    return 0 if exporter.exported == count else 1


def http_exporter(url, secret):
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    return OTLPLogExporter(
        endpoint=f"{url}/v1/logs",
        headers={"Authorization": f"Bearer {secret}"},
        timeout=EXPORT_SECONDS_MAX,
        compression=Compression.Gzip,
    )


def grpc_exporter(url, secret):
    from grpc import Compression
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

    return OTLPLogExporter(
        endpoint=url,
        insecure=url.startswith("http://"),
        headers={"authorization": f"Bearer {secret}"},
        timeout=EXPORT_SECONDS_MAX,
        compression=Compression.Gzip,
    )


if __name__ == "__main__":
    sys.exit(main())
