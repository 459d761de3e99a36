"""The arrows of deploy/k8s are those of DESIGN section 1: every one of them, and no other."""

from __future__ import annotations

import copy
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.unit.deploy.netpol import Endpoint, Labels, Port, World, arrows
from tests.unit.deploy.rendered import EXAMPLE, of_kind, workloads

if TYPE_CHECKING:
    from collections.abc import Iterable

Arrow = tuple[str, str, str, int]

NODES: Final = ("concordat-nl/node", "concordat-de/node")
CUSTODIANS: Final = ("concordat-c1/custodian", "concordat-c2/custodian", "concordat-c3/custodian")
GATEWAY, CONSOLE, LEDGER = "concordat-hub/gateway", "concordat-hub/console", "concordat-hub/postgres"
SHARD = "concordat-hub/sweep-shard"
INGRESS, DNS = "ingress/controller", "kube-system/dns"
COLLECTOR, PROMETHEUS = "telemetry/collector", "telemetry/prometheus"

# Namespaces beside ours: what brings connections in, names, telemetry, and one that has nothing to do with us.
_AROUND: Final[dict[str, Labels]] = {
    "ingress": {"concordat-role": "ingress"},
    "kube-system": {},
    "telemetry": {"concordat-role": "telemetry"},
    "elsewhere": {},
}
_NAME: Final = "app.kubernetes.io/name"
_OTHERS: Final = (
    Endpoint(INGRESS, "ingress", {_NAME: "controller"}),
    Endpoint(DNS, "kube-system", {"k8s-app": "kube-dns"}),
    Endpoint("kube-system/other", "kube-system"),
    Endpoint(COLLECTOR, "telemetry", {_NAME: "otel-collector"}),
    Endpoint(PROMETHEUS, "telemetry", {_NAME: "prometheus"}),
    # Whoever takes one of our names in a namespace that is not ours.
    *(
        Endpoint(f"elsewhere/{one}", "elsewhere", {_NAME: one})
        for one in ("node", "gateway", "custodian", "console", "postgres", "otel-collector", "prometheus")
    ),
    Endpoint("world", address="198.51.100.7"),
)
# Ports that nothing of ours has, so that an open port shows even where nobody listens.
_PORTS: Final = (
    *(("TCP", one) for one in (22, 53, 443, 4317, 5432, 7400, 7401, 7443, 7480, 8080, 9464, 65535)),
    ("UDP", 53),
    ("UDP", 7400),
)


def _tcp(sources: Iterable[str], targets: Iterable[str], port: int) -> set[Arrow]:
    targets = list(targets)
    return {(source, target, "TCP", port) for source in sources for target in targets}


def _dns(*sources: str) -> set[Arrow]:
    return {(one, DNS, protocol, 53) for one in sources for protocol in ("TCP", "UDP")}


DESIGN: Final[set[Arrow]] = {
    *_tcp(NODES, [GATEWAY], 7400),
    *_tcp(NODES, CUSTODIANS, 7401),
    *_tcp([GATEWAY], CUSTODIANS, 7401),
    *_tcp([CONSOLE], [GATEWAY], 7443),
    *_tcp([INGRESS], [GATEWAY], 7443),
    *_tcp([INGRESS], [CONSOLE], 7480),
    *_tcp([GATEWAY], [LEDGER], 5432),
    *_dns(*NODES, GATEWAY, CONSOLE),
}


def _pods(folder: str) -> list[Endpoint]:
    made = [
        Endpoint(
            f"{one.namespace}/{one.name}",
            one.namespace,
            one.labels,
            named_ports={
                port["name"]: (port.get("protocol", "TCP"), port["containerPort"])
                for container in one.containers
                for port in container.get("ports", [])
            },
        )
        for one in workloads(folder)
    ]
    # A pod that somebody starts in our namespaces, with no label or with a name that is none of ours.
    intruders = [
        Endpoint(f"{one['metadata']['name']}/{name}", one["metadata"]["name"], {_NAME: name} if name != "bare" else {})
        for one in of_kind(folder, "Namespace")
        for name in ("bare", "intruder")
    ]
    return [*made, *intruders]


def _world(folder: str, *planted: dict[str, Any]) -> World:
    namespaces = {one["metadata"]["name"]: one["metadata"]["labels"] for one in of_kind(folder, "Namespace")}
    everywhere = {**namespaces, **_AROUND}
    # As Kubernetes itself labels each namespace.
    named = {name: {**labels, "kubernetes.io/metadata.name": name} for name, labels in everywhere.items()}
    return World(named, [*of_kind(folder, "NetworkPolicy"), *planted])


def _ours(folder: str, found: set[Arrow]) -> set[Arrow]:
    """Leave out what happens between others, whom we make no policies for."""
    own = {one["metadata"]["name"] for one in of_kind(folder, "Namespace")}
    return {one for one in found if {one[0].split("/")[0], one[1].split("/")[0]} & own}


def _found(folder: str, *planted: dict[str, Any], ports: Iterable[Port] = _PORTS) -> set[Arrow]:
    world = _world(folder, *planted)
    return _ours(folder, arrows(world, [*_pods(folder), *_OTHERS], ports))


@cache
def _example() -> frozenset[Arrow]:
    return frozenset(_found(EXAMPLE))


def test_the_example_has_exactly_the_arrows_of_the_design() -> None:
    assert _example() == DESIGN


def test_nobody_dials_a_node_and_a_custodian_dials_nobody() -> None:
    assert {target for _, target, _, _ in _example()} & set(NODES) == set()
    assert {source for source, _, _, _ in _example()} & set(CUSTODIANS) == set()


def test_every_pod_of_the_example_is_in_the_table() -> None:
    pods = {f"{one.namespace}/{one.name}" for one in workloads(EXAMPLE)}
    assert pods == {*NODES, *CUSTODIANS, GATEWAY, CONSOLE, LEDGER}


PLANTED: Final = {
    "a node may be dialled": ("concordat-nl", {"policyTypes": ["Ingress"], "ingress": [{}]}),
    "a node may dial anybody": ("concordat-de", {"policyTypes": ["Egress"], "egress": [{}]}),
    "a custodian may go out": (
        "concordat-c2",
        {"policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]},
    ),
    "a port more": (
        "concordat-hub",
        {"policyTypes": ["Ingress"], "ingress": [{"from": [{"namespaceSelector": {}}], "ports": [{"port": 7443}]}]},
    ),
}


@pytest.mark.parametrize("rule", PLANTED)
def test_a_rule_too_many_is_found(rule: str) -> None:
    namespace, spec = PLANTED[rule]
    planted = {"metadata": {"name": "planted", "namespace": namespace}, "spec": {"podSelector": {}, **spec}}
    assert _found(EXAMPLE, planted) > DESIGN


def test_each_policy_matters() -> None:
    policies = of_kind(EXAMPLE, "NetworkPolicy")
    full = _world(EXAMPLE)
    pods = [*_pods(EXAMPLE), *_OTHERS]
    for left_out in policies:
        world = World(full.namespaces, [one for one in policies if one is not left_out])
        assert _ours(EXAMPLE, arrows(world, pods, _PORTS)) != DESIGN, left_out["metadata"]


def test_a_namespace_without_its_label_is_let_in_nowhere() -> None:
    full = _world(EXAMPLE)
    namespaces = copy.deepcopy(dict(full.namespaces))
    del namespaces["concordat-nl"]["concordat-role"]
    found = _ours(EXAMPLE, arrows(World(namespaces, full.policies), [*_pods(EXAMPLE), *_OTHERS], _PORTS))
    assert found == {one for one in DESIGN if one[0] != NODES[0]} | _dns(NODES[0])


def test_telemetry_adds_its_own_arrows_and_no_other() -> None:
    folder = "overlays/observed"
    names = {f"{one.namespace}/{one.name}" for one in workloads(folder)}
    plain = {one for one in DESIGN if {one[0], one[1]} <= {*names, DNS, INGRESS}}
    parties = [NODES[0], CUSTODIANS[0], GATEWAY, CONSOLE]
    added = {*_tcp(parties, [COLLECTOR], 4317), *_tcp([PROMETHEUS], [GATEWAY], 9464), *_dns(CUSTODIANS[0])}
    assert _found(folder) == plain | added


def test_shards_add_the_arrows_of_nodes_and_gateway_to_them_and_no_other() -> None:
    folder = "overlays/sharded"
    names = {f"{one.namespace}/{one.name}" for one in workloads(folder)}
    plain = {one for one in DESIGN if {one[0], one[1]} <= {*names, DNS, INGRESS}}
    assert _found(folder, ports=(*_PORTS, ("TCP", 7410))) == plain | _tcp([*NODES, GATEWAY], [SHARD], 7410)


HUB = Endpoint("hub", address="198.51.100.10")
FAR_CUSTODIANS = tuple(Endpoint(f"custodian {one}", address=f"203.0.113.{one}") for one in (1, 2, 3))
FAR_NODES = (Endpoint("NL", address="192.0.2.31"), Endpoint("DE", address="192.0.2.49"))
PARTNER, BROWSER = Endpoint("partner", address="198.51.100.200"), Endpoint("browser", address="192.0.2.140")
DATABASE = Endpoint("database", address="192.0.2.100")
FAR = (HUB, *FAR_CUSTODIANS, *FAR_NODES, PARTNER, BROWSER, DATABASE)
APART: Final[dict[str, set[Arrow]]] = {
    "overlays/apart/nl": {
        *_tcp([NODES[0]], ["hub"], 7400),
        *_tcp([NODES[0]], [one.name for one in FAR_CUSTODIANS], 7401),
        *_dns(NODES[0]),
    },
    "overlays/apart/c1": _tcp(["NL", "DE", "hub"], [CUSTODIANS[0]], 7401),
    "overlays/apart/hub": {
        *_tcp(["NL", "DE"], [GATEWAY], 7400),
        *_tcp(["partner", CONSOLE], [GATEWAY], 7443),
        *_tcp(["browser"], [CONSOLE], 7480),
        *_tcp([GATEWAY], [one.name for one in FAR_CUSTODIANS], 7401),
        *_tcp([GATEWAY], ["database"], 5432),
        *_dns(GATEWAY, CONSOLE),
    },
}


@pytest.mark.parametrize("folder", APART)
def test_an_authority_in_its_own_cluster_has_its_part_of_the_arrows(folder: str) -> None:
    found = arrows(_world(folder), [*_pods(folder), *_OTHERS, *FAR], _PORTS)
    assert _ours(folder, found) == APART[folder]
