"""The evaluator of network policies finds what is wrong: it is the only witness of the arrows in these tests."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.deploy.netpol import Endpoint, World, allowed, arrows, matches

NAMESPACES = {"a": {"team": "a"}, "b": {"team": "b"}, "open": {}}
WEB = Endpoint("web", "a", {"app": "web"}, named_ports={"http": ("TCP", 80)})
DB = Endpoint("db", "a", {"app": "db"})
CLIENT = Endpoint("client", "b", {"app": "client"})
STRANGER = Endpoint("stranger", "open")
OUTSIDE = Endpoint("outside", address="203.0.113.7")
EVERYONE = [WEB, DB, CLIENT, STRANGER, OUTSIDE]
HTTP = ("TCP", 80)


def _policy(namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": "one"}, "spec": spec}


def _deny(namespace: str) -> dict[str, Any]:
    return _policy(namespace, {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})


def _world(*policies: dict[str, Any]) -> World:
    return World(NAMESPACES, policies)


def _into_web(**rule: Any) -> dict[str, Any]:
    return _policy("a", {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"], "ingress": [rule]})


def test_without_policies_everyone_reaches_everyone() -> None:
    assert len(arrows(_world(), EVERYONE, [HTTP])) == 20


def test_a_default_deny_closes_a_namespace_in_both_directions_and_no_other() -> None:
    found = arrows(_world(_deny("a")), EVERYONE, [HTTP])
    assert {one[:2] for one in found} == {
        ("client", "stranger"),
        ("stranger", "client"),
        ("client", "outside"),
        ("outside", "client"),
        ("stranger", "outside"),
        ("outside", "stranger"),
    }


def test_a_closed_egress_blocks_although_the_other_side_would_let_in() -> None:
    let_in = _into_web()
    assert allowed(_world(let_in), CLIENT, WEB, HTTP)
    assert not allowed(_world(let_in, _deny("b")), CLIENT, WEB, HTTP)


def test_a_planted_rule_adds_its_arrow() -> None:
    before = arrows(_world(_deny("a"), _deny("b")), EVERYONE, [HTTP])
    planted = _policy("b", {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]})
    after = arrows(_world(_deny("a"), _deny("b"), planted), EVERYONE, [HTTP])
    assert {one[:2] for one in after - before} == {("client", "stranger"), ("client", "outside")}


@pytest.mark.parametrize(
    ("peer", "who"),
    [
        ({"podSelector": {}}, {"db"}),
        ({"podSelector": {"matchLabels": {"app": "client"}}}, set()),
        ({"namespaceSelector": {}}, {"db", "client", "stranger"}),
        ({"namespaceSelector": {"matchLabels": {"team": "b"}}}, {"client"}),
        (
            {"namespaceSelector": {"matchLabels": {"team": "b"}}, "podSelector": {"matchLabels": {"app": "db"}}},
            set(),
        ),
        ({"ipBlock": {"cidr": "203.0.113.0/24"}}, {"outside"}),
        ({"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.0/28"]}}, set()),
    ],
)
def test_a_peer_is_who_its_selectors_name_together(peer: dict[str, Any], who: set[str]) -> None:
    world = _world(_into_web(**{"from": [peer]}))
    assert {one.name for one in EVERYONE if one is not WEB and allowed(world, one, WEB, HTTP)} == who


@pytest.mark.parametrize(
    ("ports", "open_ports"),
    [
        ([{"port": 80}], {("TCP", 80)}),
        ([{"port": "http"}], {("TCP", 80)}),
        ([{"port": "other"}], set()),
        ([{"port": 80, "endPort": 81}], {("TCP", 80), ("TCP", 81)}),
        ([{"protocol": "UDP"}], {("UDP", 80), ("UDP", 81)}),
        ([], {("TCP", 80), ("TCP", 81), ("UDP", 80), ("UDP", 81)}),
    ],
)
def test_a_port_is_what_its_rule_names(ports: list[dict[str, Any]], open_ports: set[tuple[str, int]]) -> None:
    world = _world(_into_web(ports=ports))
    tried = [("TCP", 80), ("TCP", 81), ("UDP", 80), ("UDP", 81)]
    assert {one for one in tried if allowed(world, CLIENT, WEB, one)} == open_ports


def test_a_policy_without_types_closes_egress_only_where_it_has_such_rules() -> None:
    ingress_only = _policy("a", {"podSelector": {}})
    assert allowed(_world(ingress_only), WEB, CLIENT, HTTP)
    assert not allowed(_world(ingress_only), CLIENT, WEB, HTTP)
    to_db = _policy("a", {"podSelector": {}, "egress": [{"to": [{"podSelector": {}}]}]})
    assert not allowed(_world(to_db), WEB, CLIENT, HTTP)


@pytest.mark.parametrize(
    ("expression", "selected"),
    [
        ({"key": "app", "operator": "In", "values": ["web", "db"]}, True),
        ({"key": "app", "operator": "NotIn", "values": ["db"]}, True),
        ({"key": "app", "operator": "Exists"}, True),
        ({"key": "app", "operator": "DoesNotExist"}, False),
    ],
)
def test_expressions_select(expression: dict[str, Any], selected: bool) -> None:
    assert matches({"matchExpressions": [expression]}, {"app": "web"}) is selected


@pytest.mark.parametrize(
    "broken",
    [
        _into_web(form=[]),
        _into_web(**{"from": [{"nameSpaceSelector": {}}]}),
        _into_web(**{"from": [{}]}),
        _into_web(ports=[{"number": 80}]),
        _policy("a", {"podSelector": {"labels": {}}}),
        _policy("a", {"podSelector": {}, "ingres": []}),
        _policy("a", {"podSelector": {"matchExpressions": [{"key": "app", "operator": "Like"}]}}),
    ],
)
def test_what_it_does_not_know_it_refuses_to_judge(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"unknown|names nobody"):
        allowed(_world(broken), CLIENT, WEB, HTTP)
