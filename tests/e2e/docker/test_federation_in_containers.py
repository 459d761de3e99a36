"""What the federation does from containers: a match, a late hit after a partition, nothing lost with the gateway."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from tests.e2e.docker.containers import HOME
from tests.e2e.local import until

if TYPE_CHECKING:
    from tests.e2e.docker.containers import Containers

NL, RO = "spiffe://concordat.example/node/NL", "spiffe://concordat.example/node/RO"
IJM = "spiffe://concordat.example/partner/IJM"
CONSOLE_CONFIG = "/etc/concordat/console.toml"


def others(containers: Containers, name: str, address: str) -> list[str]:
    """Return with whom a node has matches of an address."""
    return [str(one["other"]) for one in containers.matches(name, address)]


def is_healthy(containers: Containers, service: str) -> bool:
    """Tell whether a service's container is healthy."""
    return containers.health(service) == "healthy"


def test_two_nodes_see_their_match(containers: Containers) -> None:
    """I3: each side is told once."""
    address = "both@mail.example"
    containers.check("nl", address)
    assert containers.check("ro", address)["accepted"] == 1
    until("both are told", lambda: others(containers, "nl", address) and others(containers, "ro", address))
    assert others(containers, "nl", address) == [RO]
    assert others(containers, "ro", address) == [NL]


def test_a_partner_gets_its_hit_and_coverage(containers: Containers) -> None:
    """Flow 3.9 through the API: who holds it, of whom that can be said; and the holder is told of the partner."""
    held, unknown = "asked@mail.example", "nobody@mail.example"
    containers.check("ro", held)
    found = containers.partner(held, unknown)
    assert [one["result"] for one in found["results"]] == ["hit", "no_hit"]
    assert [hit["party"] for hit in found["results"][0]["hits"]] == ["RO"]
    assert {one["party"]: one["state"] for one in found["coverage"]} == {"NL": "covered", "RO": "covered"}
    until("RO is told of the partner", lambda: others(containers, "ro", held))
    assert others(containers, "ro", held) == [IJM]


def test_a_login_link_is_given_to_who_is_there_and_stands_in_no_log(containers: Containers) -> None:
    """The page itself is tested with a browser (tests/e2e)."""
    command = ("concordat", "console", "link", "--home", HOME, "--config", CONSOLE_CONFIG, "--json")
    link = json.loads(containers.execute("console", *command))["link"]
    assert link.startswith("https://localhost:7480/login")
    assert "/login" not in containers.logs("console")


def test_a_node_that_was_cut_off_brings_its_late_hit(containers: Containers) -> None:
    """I3, I6: RO stores while nobody reaches it; NL hears 'not covered' first, and the hit when RO is back."""
    address = "late@mail.example"
    containers.disconnect("node-ro", "ro-hub")
    try:
        until("RO knows that it has no session", lambda: containers.condition("ro"))
        containers.keep("ro", address)
        until("RO has its token", lambda: containers.node("ro", "status")["without_token"] == 0)
        asked = containers.check("nl", address)
        assert [one["holder"] for one in asked["not_covered"]] == [RO]
        assert asked["matches"] == []
    finally:
        containers.connect("node-ro", "ro-hub")
    until("both are told", lambda: others(containers, "nl", address) and others(containers, "ro", address))
    assert others(containers, "nl", address) == [RO]
    assert others(containers, "ro", address) == [NL]
    until("nobody is missing any more", lambda: containers.node("nl", "matches")["not_covered"] == [])


def test_a_killed_gateway_loses_nothing(containers: Containers) -> None:
    """I9: what was told before stays, what was stored meanwhile is asked after it, and nobody is told twice."""
    before, after = "before@mail.example", "after@mail.example"
    for name in ("nl", "ro"):
        containers.check(name, before)
    until("both are told", lambda: others(containers, "nl", before) and others(containers, "ro", before))
    handles = {name: containers.matches(name, before)[0]["handle"] for name in ("nl", "ro")}
    containers.kill("gateway")
    for name in ("nl", "ro"):
        containers.keep(name, after)
    containers.start("gateway")
    until("both are told of the other", lambda: others(containers, "nl", after) and others(containers, "ro", after))
    for name, other in (("nl", RO), ("ro", NL)):
        assert [one["handle"] for one in containers.matches(name, before)] == [handles[name]]
        assert others(containers, name, after) == [other]


def test_every_container_is_healthy_again(containers: Containers) -> None:
    for service in containers.compose("ps", "--services").split():
        until(f"{service} is healthy", partial(is_healthy, containers, service))
