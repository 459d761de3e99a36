"""I1 for a partner: what it knows leaves its process in no form, by request, header, address, log or error text."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from concordat.client import Client, Item
from concordat.errors import ConcordatError
from tests.e2e.canaries import Canary, Scanner
from tests.unit.client.fake_api import problem
from tests.unit.client.fake_hub import CASE, hub

if TYPE_CHECKING:
    from pathlib import Path

    from concordat.client.client import Client as OpenClient
    from concordat.identity.home import Home
    from tests.unit.client.fake_hub import FakeHub

TYPED = {
    "phone": Item("(+40) 721-123.456", client_ref="reference-of-phone-77"),
    "mail": Item("Lena.Petrova+x@googlemail.com", client_ref="reference-of-mail-78"),
    "profile": Item("https://www.instagram.com/lena.petrova.k/", client_ref="reference-of-profile-79"),
    "iban": Item("DE89 3704 0044 0532 0130 00", client_ref="reference-of-iban-80"),
    "name": Item("Lena Petrova of Cluj", client_ref="reference-of-name-81"),
    "national": Item("0722 998 877", client_ref="reference-of-national-82"),
}


def canaries(client: OpenClient, home: Home) -> Scanner:
    """Return what looks for everything that the client knows and nobody else may."""
    secrets: list[tuple[str, str | bytes]] = []
    for name, item in TYPED.items():
        secrets += [(f"typed {name}", item.text), (f"client_ref of {name}", item.client_ref or "")]
    for value, known in client._kept.items():
        secrets += [(f"canonical {value.namespace}", value.canonical)]
        secrets += [(f"label of {value.namespace}", known.label), (f"match secret of {value.namespace}", known.secret)]
    secrets += [("reference of the case", CASE.reference), ("officer", CASE.officer), ("authority", CASE.authority)]
    secrets += [("mask key", home.mask_key(1)), ("key of references", client._questions._reference_key)]
    return Scanner(Canary(number, what, value) for number, (what, value) in enumerate(secrets))


async def work(fake: FakeHub, client: OpenClient) -> list[str]:
    """Ask in every way that works or fails, and return the error texts."""
    errors: list[str] = []
    await fake.hold("NL", "e164", "+40721123456")
    await client.check(TYPED.values(), CASE)
    await client.check([TYPED["national"]], CASE, region="RO")
    queries, evaluations = fake.routes["POST", "/v1/queries"], fake.routes["POST", "/v1/evaluations"]
    for path in ("/v1/queries", "/v1/evaluations"):
        for status, code in ((400, "bad_input"), (403, "refused"), (429, "quota_exhausted"), (503, "busy")):
            fake.route("POST", path, problem(status, code))
            try:
                await client.check([TYPED["mail"], Item(f"person{len(errors)}@another.example")], CASE)
            except ConcordatError as error:
                errors.append(repr(error))
        fake.routes["POST", "/v1/queries"], fake.routes["POST", "/v1/evaluations"] = queries, evaluations
    return errors


def seen(fake: FakeHub, caplog: pytest.LogCaptureFixture, errors: list[str]) -> list[tuple[str, bytes]]:
    requests = [(f"request {number} {one.path}", one.seen()) for number, one in enumerate(fake.requests)]
    return [*requests, ("log", caplog.text.encode()), ("errors", "\n".join(errors).encode())]


async def test_i1_nothing_that_a_partner_knows_is_in_a_request_a_log_or_an_error(
    federation: Path, partner: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with hub(federation) as fake, Client.open(federation / "partner/IJM") as client:
        errors = await work(fake, client)
        scanner = canaries(client, partner)
        places = seen(fake, caplog, errors)
    assert len(errors) == 8
    assert sum(place.endswith("/v1/queries") for place, _ in places) >= 4
    assert "custodian does not serve" in caplog.text
    assert scanner.find_all(places) == []


@pytest.mark.parametrize("leak", ["address", "header", "body", "log", "error"])
async def test_i1_a_leak_that_is_planted_is_found(
    federation: Path, partner: Home, caplog: pytest.LogCaptureFixture, leak: str
) -> None:
    caplog.set_level(logging.DEBUG)
    async with hub(federation) as fake, Client.open(federation / "partner/IJM") as client:
        await client.check(TYPED.values(), CASE)
        scanner = canaries(client, partner)
        known = next(iter(client._kept.values()))
        errors: list[str] = []
        if leak in ("address", "header", "body"):
            exchange = client._session._connection.exchange(
                "POST",
                f"/v1/{known.label.hex()}" if leak == "address" else "/v1/x",
                headers={"X-Why": "reference-of-mail-78"} if leak == "header" else {},
                token=None,
                body=b"lenapetrova@gmail.com" if leak == "body" else None,
            )
            async with exchange as response:
                await client._session._connection.read(response)
        elif leak == "log":
            logging.getLogger("concordat").warning("secret %s", known.secret.hex())
        else:
            errors = [repr(ConcordatError("cannot read +40721123456"))]
        found = scanner.find_all(seen(fake, caplog, errors))
    places = {"address": "/v1/", "header": "/v1/x", "body": "/v1/x", "log": "log", "error": "errors"}
    assert found
    assert all(places[leak] in one.place for one in found if one.place != "log" or leak == "log")
