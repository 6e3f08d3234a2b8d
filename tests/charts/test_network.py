"""Who reaches the pods, and whom they reach. Enforcing a policy is the network's business."""

from typing import Any

import pytest

from tests.charts.rendering import FULLNAME, Json, render

POLICY: Json = {"networkPolicy": {"enabled": True}}
SHARED: Json = {"accessModes": ["ReadWriteMany"]}


def ports(rules: list[Json]) -> list[tuple[int, str]]:
    return [(each["port"], each["protocol"]) for rule in rules for each in rule["ports"]]


HUB = [(53, "UDP"), (53, "TCP"), (5353, "UDP"), (5353, "TCP"), (443, "TCP")]


@pytest.mark.parametrize(
    ("values", "egress"),
    [
        ({}, HUB),
        ({"fetch": {"prefetch": True}, "volume": SHARED}, []),
        ({"fetch": {"enabled": False}}, []),
        ({"fetch": {"endpoint": "http://hub.hub:8080"}}, [*HUB, (8080, "TCP")]),
        ({"fetch": {"endpoint": "http://hub"}}, [*HUB, (80, "TCP")]),
        ({"fetch": {"endpoint": "https://hub/path"}}, HUB),
    ],
)
def test_a_pod_reaches_only_what_it_fetches_from(values: Json, egress: list[Any]) -> None:
    policy = render(POLICY | values).one("NetworkPolicy", FULLNAME)["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert ports(policy["egress"]) == egress


def test_a_job_that_fetches_reaches_the_hub_and_is_reached_by_nobody() -> None:
    found = render(POLICY | {"fetch": {"prefetch": True}, "volume": SHARED})
    policy = found.one("NetworkPolicy", f"{FULLNAME}-fetch")["spec"]
    labels = found.one("Job")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["ingress"] == []
    assert ports(policy["egress"]) == HUB
    assert (
        not policy["podSelector"]["matchLabels"].items()
        <= found.template["metadata"]["labels"].items()
    )


def test_a_proxy_is_reached_where_it_is_named() -> None:
    extra = [{"ports": [{"port": 3128, "protocol": "TCP"}]}]
    policy = {"networkPolicy": {"enabled": True, "extraEgress": extra}}
    found = render(policy | {"fetch": {"enabled": False}}).one("NetworkPolicy")["spec"]
    assert found["egress"] == extra


def test_who_may_call_is_said_and_the_test_may_too() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"team": "chat"}}}
    found = render({"networkPolicy": {"enabled": True, "from": [peer]}})
    (rule,) = found.one("NetworkPolicy")["spec"]["ingress"]
    assert rule["ports"] == [{"port": "http", "protocol": "TCP"}]
    first, test = rule["from"]
    assert first == peer
    labels = found.one("Pod")["metadata"]["labels"]
    assert test["podSelector"]["matchLabels"].items() <= labels.items()
    (everybody,) = render(POLICY).one("NetworkPolicy")["spec"]["ingress"]
    assert "from" not in everybody


def test_the_service_leads_to_the_server_s_pods_only() -> None:
    found = render({"fetch": {"prefetch": True}, "service": {"port": 80}})
    service = found.one("Service")["spec"]
    assert service["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]
    assert service["selector"].items() <= found.template["metadata"]["labels"].items()
    assert not service["selector"].items() <= found.one("Pod")["metadata"]["labels"].items()
    assert service["selector"] == found.one("Deployment")["spec"]["selector"]["matchLabels"]


def test_an_ingress_and_a_route_lead_to_the_service() -> None:
    values = {
        "service": {"port": 80},
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "hosts": [{"host": "a.b"}, {"host": "c.d", "paths": ["/v1", "/health"]}],
        },
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}], "hostnames": ["a.b"]},
    }
    found = render(values)
    ingress = found.one("Ingress")["spec"]
    places = [
        (rule["host"], path["path"], path["backend"]["service"]["name"])
        for rule in ingress["rules"]
        for path in rule["http"]["paths"]
    ]
    assert places == [
        ("a.b", "/v1", FULLNAME),
        ("c.d", "/v1", FULLNAME),
        ("c.d", "/health", FULLNAME),
    ]
    (rule,) = found.one("HTTPRoute")["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": FULLNAME, "port": 80}]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/v1"}}]
    assert rule["timeouts"] == {"request": "0s"}, "a stream has no end that is known"


def test_a_gateway_without_timeouts_is_told_none() -> None:
    route = {"enabled": True, "parentRefs": [{"name": "g"}], "requestTimeout": ""}
    (rule,) = render({"httpRoute": route}).one("HTTPRoute")["spec"]["rules"]
    assert "timeouts" not in rule


def test_a_load_balancer_may_be_for_some_addresses_only() -> None:
    service = {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"]}
    found = render({"service": service}).one("Service")["spec"]
    assert found["loadBalancerSourceRanges"] == ["10.0.0.0/8"]
    assert "loadBalancerSourceRanges" not in render().one("Service")["spec"]
