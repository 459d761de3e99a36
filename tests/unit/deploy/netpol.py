"""Who may open a connection to whom, by the rules of Kubernetes's NetworkPolicies.

    arrows(World(namespaces, policies), endpoints, ports)

A pod that no policy selects for a direction is open in it; one that is selected is closed but for what a rule lets
through, and a connection needs the consent of both ends. What this evaluator does not know it refuses to judge.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Labels = dict[str, str]
Port = tuple[str, int]
_POLICY: Final = {"podSelector", "policyTypes", "ingress", "egress"}
_PEER: Final = {"podSelector", "namespaceSelector", "ipBlock"}
_PORT: Final = {"protocol", "port", "endPort"}


@dataclass(frozen=True)
class Endpoint:
    """A pod, or with `address` somebody outside of the cluster."""

    name: str
    namespace: str = ""
    labels: Labels = field(default_factory=dict)
    address: str = ""
    named_ports: dict[str, Port] = field(default_factory=dict)


@dataclass(frozen=True)
class World:
    """The labels of each namespace, and all policies."""

    namespaces: Mapping[str, Labels]
    policies: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class _Rule:
    namespace: str
    peers: list[dict[str, Any]]
    ports: list[dict[str, Any]]


def arrows(world: World, endpoints: Sequence[Endpoint], ports: Iterable[Port]) -> set[tuple[str, str, str, int]]:
    """Return every (from, to, protocol, port) that is let through."""
    tried = list(ports)
    outward = [(one, _rules(world, one, "egress")) for one in endpoints]
    inward = [(one, _rules(world, one, "ingress")) for one in endpoints]
    return {
        (source.name, target.name, *port)
        for source, out in outward
        for target, into in inward
        for port in tried
        if source is not target and _consent(world, out, target, target, port)
        if _consent(world, into, source, target, port)
    }


def allowed(world: World, source: Endpoint, target: Endpoint, port: Port) -> bool:
    """Tell whether both ends consent."""
    return bool(arrows(world, [source, target], [port]) & {(source.name, target.name, *port)})


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector selects; an empty one selects all."""
    _know(selector, {"matchLabels", "matchExpressions"})
    wanted = selector.get("matchLabels", {})
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _holds(one, labels) for one in selector.get("matchExpressions", [])
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator, values = expression["key"], expression["operator"], expression.get("values", [])
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    raise ValueError(f"unknown operator {operator}")


def _rules(world: World, pod: Endpoint, direction: str) -> list[_Rule] | None:
    """Return what lets something through at one end; None where no policy closes it."""
    policies = [one for one in world.policies if not pod.address and _isolates(one, pod, direction)]
    side = "to" if direction == "egress" else "from"
    if not policies:
        return None
    found = []
    for policy in policies:
        for rule in policy["spec"].get(direction) or []:
            _know(rule, {side, "ports"})
            found.append(_Rule(policy["metadata"]["namespace"], rule.get(side) or [], rule.get("ports") or []))
    return found


def _consent(world: World, rules: list[_Rule] | None, other: Endpoint, target: Endpoint, port: Port) -> bool:
    return rules is None or any(
        (not rule.ports or any(_is_port(one, target, port) for one in rule.ports))
        and (not rule.peers or any(_is_peer(world, rule.namespace, one, other) for one in rule.peers))
        for rule in rules
    )


def _isolates(policy: Mapping[str, Any], pod: Endpoint, direction: str) -> bool:
    spec = policy["spec"]
    _know(spec, _POLICY)
    # Without policyTypes a policy is of ingress, and of egress too where it has such rules.
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return (
        policy["metadata"]["namespace"] == pod.namespace
        and matches(spec["podSelector"], pod.labels)
        and direction.capitalize() in types
    )


def _is_peer(world: World, own_namespace: str, peer: Mapping[str, Any], other: Endpoint) -> bool:
    _know(peer, _PEER)
    if not peer:
        raise ValueError("a peer names nobody")
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        _know(block, {"cidr", "except"})
        return bool(other.address) and _within(other.address, block["cidr"], block.get("except", []))
    if other.address:
        return False
    if "namespaceSelector" in peer:
        in_namespace = matches(peer["namespaceSelector"], world.namespaces[other.namespace])
    else:
        in_namespace = other.namespace == own_namespace
    return in_namespace and matches(peer.get("podSelector", {}), other.labels)


def _within(address: str, cidr: str, excluded: Sequence[str]) -> bool:
    found = ipaddress.ip_address(address)
    return found in ipaddress.ip_network(cidr) and not any(found in ipaddress.ip_network(one) for one in excluded)


def _is_port(rule: Mapping[str, Any], target: Endpoint, port: Port) -> bool:
    _know(rule, _PORT)
    protocol, number = port
    if rule.get("protocol", "TCP") != protocol:
        return False
    first = rule.get("port")
    if first is None:
        return True
    if isinstance(first, str):
        return target.named_ports.get(first) == port
    return int(first) <= number <= int(rule.get("endPort", first))


def _know(found: Mapping[str, Any], known: set[str]) -> None:
    if not set(found) <= known:
        raise ValueError(f"unknown in a policy: {sorted(set(found) - known)}")
