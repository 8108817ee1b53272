#!/usr/bin/env python3
"""Converts Sigma rules with pySigma's Lucene backend, and runs them.

    sigma_lucene.py URL SECRET RULES

For each rule of the folder a line of JSON: {"rule": id, "query": ..., "hits": [[record, time], ..]}, or
with "unconverted" or "refused" and why. A rule is asked of the events of its logsource class alone, as
our matcher asks it; pySigma leaves that to the index pattern.
"""

import json
import pathlib
import sys

from elasticsearch import ApiError, Elasticsearch
from sigma.backends.elasticsearch import LuceneBackend
from sigma.collection import SigmaCollection
from sigma.exceptions import SigmaError
from sigma.pipelines.elasticsearch.windows import ecs_windows

# Hits of one rule; the events of the test are fewer.
HITS_MAX = 10_000


def main():
    url, secret, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    client = Elasticsearch(url, api_key=secret, request_timeout=120)
    backend = LuceneBackend(ecs_windows())
    for file in sorted(folder.rglob("*.yml")):
        try:
            rules = SigmaCollection.from_yaml(file.read_text(encoding="utf-8"))
            for rule in rules.rules:
                # The pipeline changes the rule.
                told = {"rule": str(rule.id), "logsource": logsource(rule)}
                try:
                    told["query"] = " OR ".join(f"({query})" for query in backend.convert_rule(rule))
                except (SigmaError, NotImplementedError) as error:
                    print(json.dumps(told | {"unconverted": str(error)}))
                    continue
                print(json.dumps(told | run(client, told)))
        except SigmaError as error:
            print(json.dumps({"rule": str(file), "unconverted": str(error)}))


def logsource(rule):
    parts = {
        "product": rule.logsource.product,
        "category": rule.logsource.category,
        "service": rule.logsource.service,
    }
    return {name: value for name, value in parts.items() if value}


def run(client, told):
    own = [{"term": {f"watchpost.logsource.{name}": value}} for name, value in told["logsource"].items()]
    query = {"bool": {"filter": own + [{"query_string": {"query": told["query"], "analyze_wildcard": True}}]}}
    try:
        answer = client.search(index="events-*", query=query, size=HITS_MAX, source=["winlog.record_id", "@timestamp"])
    except ApiError as error:
        return {"refused": str(error.body["error"]["reason"])}
    sources = [hit["_source"] for hit in answer["hits"]["hits"]]
    return {"hits": [[str(source["winlog"]["record_id"]), source["@timestamp"]] for source in sources]}


if __name__ == "__main__":
    main()
