#!/usr/bin/env python3
"""Searches with the Elasticsearch client, as people and Grafana do.

    elasticsearch_search.py URL SECRET COUNT

COUNT events are there: {"@timestamp": ..., "host.name": "ws-<n % 3>", "process.pid": n,
"user.name": "anna" or "Bert", "message": "logon failed for user <n>"}, one second apart. Ends with an
exception if an answer is not what it must be.
"""

import sys

from elasticsearch import (
    AuthenticationException,
    BadRequestError,
    Elasticsearch,
    NotFoundError,
    helpers,
)

EVENTS = "events-*"
ALL = {"match_all": {}}


def main():
    url, secret, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    client = Elasticsearch(url, api_key=secret, request_timeout=60)
    who_may_ask(url, secret)
    what_there_is(client, count)
    searching(client, count)
    going_through_all(client, count)
    aggregating(client, count)
    grafana(client, count)
    refusing(client)
    print("all as it must be")


def same(found, wanted):
    assert found == wanted, f"{found!r} is not {wanted!r}"


def who_may_ask(url, secret):
    for options in ({"basic_auth": ("grafana", secret)}, {"bearer_auth": secret}):
        same(Elasticsearch(url, **options).info()["tagline"], "You Know, for Search")
    try:
        Elasticsearch(url, api_key="wrong").search(index=EVENTS)
        raise AssertionError("anybody may ask")
    except AuthenticationException:
        pass


def what_there_is(client, count):
    assert client.ping()
    same(client.cluster.health()["status"], "green")
    rows = client.cat.indices(index=EVENTS, format="json")
    same(sum(int(row["docs.count"]) for row in rows), count)
    assert "docs.count" in str(client.cat.indices(index=EVENTS, v=True, format="text"))
    assert client.indices.exists(index=EVENTS)
    names = client.indices.resolve_index(name=EVENTS)["indices"]
    assert all(name["name"].startswith("events-") for name in names) and names
    caps = client.field_caps(index=EVENTS, fields="*")["fields"]
    assert caps["host.name"]["keyword"]["aggregatable"], caps["host.name"]
    assert "date" in caps["@timestamp"] and "long" in caps["process.pid"]
    assert not caps["message"]["text"]["aggregatable"]
    for mapping in client.indices.get_mapping(index=EVENTS).values():
        host = mapping["mappings"]["properties"]["host"]["properties"]["name"]
        same(host["type"], "keyword")


def total(client, query):
    answer = client.search(index=EVENTS, query=query, size=0, track_total_hits=True)
    same(answer["hits"]["total"]["relation"], "eq")
    same(client.count(index=EVENTS, query=query)["count"], answer["hits"]["total"]["value"])
    return answer["hits"]["total"]["value"]


def searching(client, count):
    third = (count + 2) // 3
    half = count // 2
    same(total(client, ALL), count)
    same(total(client, {"match_none": {}}), 0)
    same(total(client, {"term": {"host.name.keyword": "ws-0"}}), third)
    same(total(client, {"terms": {"process.pid": [1, 2, "3", 10**9]}}), 3)
    same(total(client, {"match": {"message": "failed nothing"}}), count)
    same(total(client, {"match_phrase": {"message": "logon failed"}}), count)
    same(total(client, {"match_phrase": {"message": "failed logon"}}), 0)
    same(total(client, {"match_phrase_prefix": {"message": "failed for us"}}), count)
    same(total(client, {"multi_match": {"query": "anna", "fields": ["user.*", "host.name"]}}), count - half)
    same(total(client, {"range": {"process.pid": {"gte": 10, "lt": 20}}}), 10)
    same(total(client, {"range": {"@timestamp": {"gte": "now-1d/d", "lte": "now"}}}), count)
    same(total(client, {"exists": {"field": "host"}}), count)
    same(total(client, {"prefix": {"host.name": "ws-"}}), count)
    same(total(client, {"wildcard": {"host.name": {"value": "WS?1", "case_insensitive": True}}}), count // 3 if count % 3 < 2 else third)
    same(total(client, {"regexp": {"user.name": "B.*t"}}), half)
    same(total(client, {"regexp": {"user.name": "er"}}), 0)
    for query, wanted in (
        ("user.name:anna AND host.name:ws\\-0", len([n for n in range(count) if n % 6 == 0])),
        ("NOT _exists_:user.name", 0),
        ("process.pid:[5 TO 9}", 4),
        ("process.pid:>=5 AND process.pid:<7", 2),
        ('message:"failed for user 7"', 1),
        ("user.name:(anna OR Bert)", count),
        ("host.name:/ws-[01]/", len([n for n in range(count) if n % 3 < 2])),
        ("*", count),
    ):
        found = total(client, {"query_string": {"query": query, "analyze_wildcard": True}})
        assert found == wanted, f"{query}: {found}, not {wanted}"
    same(total(client, {"simple_query_string": {"query": "logon + fail*"}}), count)
    both = {"bool": {
        "must": [{"term": {"user.name": "anna"}}],
        "must_not": [{"term": {"host.name": "ws-0"}}],
        "should": [{"term": {"process.pid": 2}}, {"term": {"process.pid": 4}}],
        "minimum_should_match": 1,
    }}
    same(total(client, both), 2)

    answer = client.search(
        index=EVENTS,
        query={"range": {"process.pid": {"lt": 4}}},
        sort=[{"process.pid": {"order": "desc", "unmapped_type": "long"}}],
        source_includes=["host.name"],
        fields=["user.*", {"field": "@timestamp", "format": "epoch_millis"}],
        size=2,
        from_=1,
    )
    hits = answer["hits"]["hits"]
    same([hit["sort"] for hit in hits], [[2], [1]])
    same(hits[0]["_source"], {"host": {"name": "ws-2"}})
    same(hits[0]["fields"]["user.name"], ["anna"])
    assert hits[0]["fields"]["@timestamp"][0].isdigit() and hits[0]["_index"].startswith("events-")
    found = client.search(index=EVENTS, query={"ids": {"values": [hits[0]["_id"]]}})
    same(found["hits"]["hits"][0]["_id"], hits[0]["_id"])
    few = client.search(index=EVENTS, track_total_hits=5, size=0)["hits"]["total"]
    same(few, {"value": 5, "relation": "gte"})


def going_through_all(client, count):
    """Each way finds every event once."""
    scanned = [hit["_id"] for hit in helpers.scan(client, index=EVENTS, query={"query": ALL}, size=100)]
    same((len(scanned), len(set(scanned))), (count, count))
    ordered = helpers.scan(client, index=EVENTS, query={"sort": [{"host.name": "desc"}]}, size=70, preserve_order=True)
    names = [hit["_source"]["host"]["name"] for hit in ordered]
    same((len(names), names), (count, sorted(names, reverse=True)))

    pit = client.open_point_in_time(index=EVENTS, keep_alive="1m")["id"]
    seen, after = [], None
    while True:
        answer = client.search(
            pit={"id": pit, "keep_alive": "1m"},
            sort=[{"@timestamp": {"order": "asc", "format": "strict_date_optional_time"}}],
            search_after=after,
            size=90,
        )
        hits = answer["hits"]["hits"]
        if not hits:
            break
        seen += [hit["_source"]["process"]["pid"] for hit in hits]
        after = hits[-1]["sort"]
    same(seen, list(range(count)))
    client.close_point_in_time(id=pit)


def aggregating(client, count):
    aggs = client.search(index=EVENTS, size=0, aggs={
        "hosts": {
            "terms": {"field": "host.name.keyword", "size": 2, "order": {"top": "desc"}},
            "aggs": {
                "top": {"max": {"field": "process.pid"}},
                "users": {"terms": {"field": "user.name"}, "aggs": {
                    "newest": {"top_hits": {"size": 1, "_source": ["process.pid"]}},
                }},
            },
        },
        "stats": {"extended_stats": {"field": "process.pid"}},
        "users": {"cardinality": {"field": "user.name"}},
        "pids": {"percentiles": {"field": "process.pid", "percents": [0, 50, 100]}},
        "some": {"filters": {"filters": {"low": {"range": {"process.pid": {"lt": 10}}}, "none": {"match_none": {}}}}},
        "ranges": {"range": {"field": "process.pid", "ranges": [{"to": 5}, {"from": 5, "to": 10, "key": "five"}]}},
        "tens": {"histogram": {"field": "process.pid", "interval": 100, "min_doc_count": 0}},
        "last": {"max": {"field": "@timestamp"}},
        "count": {"value_count": {"field": "user.name"}},
    })["aggregations"]
    hosts = aggs["hosts"]["buckets"]
    same(len(hosts), 2)
    same(hosts[0]["top"]["value"], count - 1)
    same(aggs["hosts"]["sum_other_doc_count"], count - sum(bucket["doc_count"] for bucket in hosts))
    newest = hosts[0]["users"]["buckets"][0]["newest"]["hits"]["hits"][0]["_source"]
    assert newest["process"]["pid"] >= count - 6, newest
    same((aggs["stats"]["count"], aggs["stats"]["min"], aggs["stats"]["max"]), (count, 0, count - 1))
    same(aggs["stats"]["avg"], (count - 1) / 2)
    assert abs(aggs["stats"]["variance"] - (count * count - 1) / 12) < 1e-6 * count * count
    same(aggs["users"]["value"], 2)
    same(aggs["pids"]["values"], {"0.0": 0, "50.0": (count - 1) / 2, "100.0": count - 1})
    same(aggs["some"]["buckets"]["low"]["doc_count"], 10)
    same(aggs["some"]["buckets"]["none"]["doc_count"], 0)
    same([(r["key"], r["doc_count"]) for r in aggs["ranges"]["buckets"]], [("*-5.0", 5), ("five", 5)])
    same(aggs["tens"]["buckets"][0]["doc_count"], 100)
    assert aggs["last"]["value_as_string"].endswith("Z")
    same(aggs["count"]["value"], count)


def grafana(client, count):
    """The requests that Grafana's data source makes for its panels."""
    around = {"range": {"@timestamp": {"gte": 0, "lte": 4102444800000, "format": "epoch_millis"}}}
    newest = client.search(index=EVENTS, size=1, sort="@timestamp:desc")["hits"]["hits"][0]
    until = newest["sort"][0]
    since = until - 1000 * (count - 1)
    query = {"bool": {"filter": [
        {"range": {"@timestamp": {"gte": since, "lte": until, "format": "epoch_millis"}}},
        {"query_string": {"analyze_wildcard": True, "query": "user.name:*"}},
    ]}}
    over_time = {"date_histogram": {
        "field": "@timestamp", "fixed_interval": "30s", "min_doc_count": 0,
        "extended_bounds": {"min": since - 60000, "max": until}, "format": "epoch_millis",
    }}
    head = {"search_type": "query_then_fetch", "ignore_unavailable": True, "index": "events-*,winlogbeat-x"}
    panels = [
        {"size": 0, "query": query, "aggs": {"3": {
            "terms": {"field": "host.name", "size": 500, "order": {"_key": "desc"}, "min_doc_count": 1},
            "aggs": {"2": over_time | {"aggs": {
                "1": {"avg": {"field": "process.pid"}},
                "4": {"percentiles": {"field": "process.pid", "percents": ["25", "95"]}},
            }}},
        }}},
        {
            "size": 500, "query": query, "script_fields": {},
            "sort": [{"@timestamp": {"order": "desc", "unmapped_type": "boolean"}}, {"_doc": {"order": "desc"}}],
            "highlight": {"fields": {"*": {}}, "pre_tags": ["@HIGHLIGHT@"], "post_tags": ["@/HIGHLIGHT@"], "fragment_size": 2147483647},
        },
        {"size": 0, "query": {"bool": {"filter": around}}, "aggs": {"2": over_time}},
        {"size": 0, "query": query, "aggs": {"5": {"moving_avg": {"buckets_path": "1"}}}},
    ]
    answers = client.msearch(searches=[part for panel in panels for part in (head, panel)])["responses"]
    same([answer["status"] for answer in answers], [200, 200, 200, 400])
    hosts = answers[0]["aggregations"]["3"]["buckets"]
    same([host["key"] for host in hosts], ["ws-2", "ws-1", "ws-0"])
    steps = hosts[0]["2"]["buckets"]
    same(sum(step["doc_count"] for step in steps), hosts[0]["doc_count"])
    assert all(b["key"] - a["key"] == 30000 for a, b in zip(steps, steps[1:]))
    assert steps[0]["doc_count"] == 0 and steps[0]["key"] <= since - 60000
    assert steps[0]["key_as_string"] == str(steps[0]["key"])
    filled = [step for step in steps if step["doc_count"]]
    assert filled[0]["1"]["value"] is not None and set(filled[0]["4"]["values"]) == {"25.0", "95.0"}
    logs = answers[1]["hits"]["hits"]
    same(len(logs), min(count, 500))
    same(logs[0]["_source"]["process"]["pid"], count - 1)
    same(len(logs[0]["sort"]), 2)
    assert "moving_avg" in answers[3]["error"]["reason"]


def refusing(client):
    """What is not known is refused, with the place."""
    for body, kind, part in (
        ({"query": {"bool": {"must": [{"fuzzy": {"a": "b"}}]}}}, "parsing_exception", "query.bool.must[0].fuzzy"),
        ({"query": {"nested": {"path": "a", "query": ALL}}}, "parsing_exception", "flattened"),
        ({"collapse": {"field": "a"}}, "parsing_exception", "[collapse]"),
        ({"size": 9000, "from": 2000}, "illegal_argument_exception", "Result window is too large"),
        ({"query": {"query_string": {"query": "a AND"}}}, "parsing_exception", "column 6"),
        ({"aggs": {"a": {"terms": {"field": "message"}}}}, "illegal_argument_exception", "[message] is text"),
        (
            {"aggs": {"a": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1ms"}}}},
            "too_many_buckets_exception", "10000",
        ),
    ):
        try:
            client.options(headers={"accept": "application/json", "content-type": "application/json"}).perform_request("POST", "/events-*/_search", body=body, headers={"accept": "application/json", "content-type": "application/json"})
            raise AssertionError(f"this was answered: {body}")
        except BadRequestError as error:
            same(error.body["error"]["type"], kind)
            assert part in error.body["error"]["reason"], error.body
    try:
        client.search(index="winlogbeat-2020")
        raise AssertionError("an index that is not there was searched")
    except NotFoundError as error:
        same(error.body["error"]["type"], "index_not_found_exception")


if __name__ == "__main__":
    main()
