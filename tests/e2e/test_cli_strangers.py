"""Who reads by other rules, is unknown, or shows a wrong certificate is told so, and keeps all that it had accepted."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import pytest

from concordat.clock import SystemClock
from concordat.identity.certificates import LocalAuthority
from concordat.identity.files import write_private, write_public
from concordat.identity.keys import SealingKey, SigningKey
from concordat.identity.manifest import Manifest, Party, Window
from concordat.identity.names import Role, SpiffeId
from concordat.identity.signed_manifest import sign_manifest
from demo.federation import FEDERATION
from tests.e2e.local import KillableFederation, concordat, mail, mails, run_json, settled, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from concordat.identity.certificates import TlsPair
    from demo.processes import Event

pytestmark = pytest.mark.slow
HOSTS: Final = ("localhost", "127.0.0.1")


class Registrar:
    """Signs manifests and certificates of a local federation, as its operators would."""

    def __init__(self, federation: KillableFederation) -> None:
        assert federation.manifest is not None
        self.root = federation.folder / "federation"
        self.authority = LocalAuthority.create(FEDERATION, clock=SystemClock())
        self._operators = [SigningKey.load(path) for path in (self.root / "roots").iterdir()]
        for folder in self.folders():
            self.certify(folder)
        roots = (self.authority.root_pem.decode(),)
        self.manifest = Manifest.model_validate({**federation.manifest.model_dump(), "tls_roots": roots})
        self.publish(self.manifest, *self.folders())

    def folders(self) -> list[Path]:
        """Return all parties' folders."""
        return [path for role in ("custodian", "gateway", "node") for path in (self.root / role).iterdir()]

    def certify(self, folder: Path, *, days: float = 1, authority: LocalAuthority | None = None) -> None:
        """Give a party a new certificate."""
        spiffe = SpiffeId(FEDERATION, Role(folder.parent.name), folder.name)
        tls: TlsPair = (authority or self.authority).issue(spiffe, hosts=HOSTS, days=days)
        write_private(folder / "tls.key", tls.key_pem)
        write_public(folder / "tls.crt", tls.certificate_pem)
        write_public(folder / "tls-roots.crt", self.authority.root_pem)

    def successor(self, **changes: object) -> Manifest:
        """Return the manifest that follows the last one."""
        last = self.manifest
        form = {**last.model_dump(), "version": last.version + 1, "previous": last.hash.hex(), **changes}
        return Manifest.model_validate(form)

    def publish(self, manifest: Manifest, *folders: Path) -> None:
        """Put a manifest into parties' folders."""
        signed = sign_manifest(manifest, self._operators).to_json()
        for folder in folders:
            write_public(folder / "manifest.json", signed)
        self.manifest = manifest

    def enrol(self, name: str) -> Path:
        """Make the folder of a new party, with a manifest that nobody else has yet."""
        folder = self.root / "node" / name
        shutil.copytree(self.root / "node/NL", folder, ignore=shutil.ignore_patterns("store*", "*.sock", "*.lock"))
        signing, sealing = SigningKey.generate(), SealingKey.generate()
        signing.save(folder / "sign.key")
        sealing.save(folder / "seal.key")
        self.certify(folder)
        party = Party(
            id=str(SpiffeId(FEDERATION, Role.NODE, name)),
            name=name,
            party_class=self.manifest.parties[0].party_class,
            region=name,
            identity_key=signing.public.hex(),
            sealing_key=sealing.public.base64(),
        )
        before = self.manifest
        opt_in = {**before.opt_in, name: next(iter(before.opt_in.values()))}
        self.publish(self.successor(parties=(*before.parties, party), opt_in=opt_in), folder)
        self.manifest = before
        return folder


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillableFederation]:
    with KillableFederation(tmp_path_factory.mktemp("strangers"), ("NL", "DE")) as made:
        made.prepare()
        yield made


@pytest.fixture(scope="module")
def registrar(federation: KillableFederation) -> Registrar:
    return Registrar(federation)


def detached(node: str, code: str) -> Callable[[Event], bool]:
    def wanted(event: Event) -> bool:
        return event.get("event") == "detached" and event["node"] == node and event["code"] == code

    return wanted


def conditions_of(federation: KillableFederation, name: str) -> dict[str, str]:
    """Return what `node status` says of a node."""
    return {one["name"]: one["text"] for one in federation.status(name)["conditions"]}


def wait_session(federation: KillableFederation, name: str, code: str) -> None:
    """Wait until `node status` says why there is no session."""
    until(f"status says {code}", lambda: conditions_of(federation, name).get("session", "").endswith(f"[{code}]"))


def refusal_of(*arguments: str | Path) -> str:
    """Return the one line with which a command refuses."""
    with concordat(*arguments) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    return err.strip()


def test_a_party_that_the_gateway_does_not_know_is_told_so_and_keeps_its_records(
    federation: KillableFederation, registrar: Registrar, tmp_path: Path
) -> None:
    registrar.enrol("FR")
    report = federation.submit("FR", mails(tmp_path / "list.csv", range(3)))
    assert report.counts.accepted == 3
    federation.revive(federation.hub)
    stranger = federation.add_node("FR")
    mark = federation.mark()
    federation.revive(stranger)
    event = federation.wait_event(detached("FR", "bad_identity"), since=mark)
    assert event["reason"] == "the gateway: The caller's identity was not accepted."
    wait_session(federation, "FR", "bad_identity")
    status = federation.status("FR")
    assert (status["accepted"], status["values"], status["shown"]) == (3, 3, 0)
    federation.remove(stranger)


def test_a_certificate_that_has_expired_or_is_foreign_stops_the_node_in_one_line(
    federation: KillableFederation, registrar: Registrar, tmp_path: Path
) -> None:
    home = federation.home("DE")
    file = mails(tmp_path / "list.csv", range(100, 105))
    federation.submit("DE", file)

    registrar.certify(home, days=-1)
    line = refusal_of("node", "run", "--home", home)
    assert line.endswith(f"the certificate of spiffe://{FEDERATION}/node/DE has expired [bad_identity]")
    where = ("--home", home, "--case", federation.case())
    assert "has expired" in refusal_of("node", "submit", mails(tmp_path / "more.csv", range(105, 110)), *where)

    registrar.certify(home, authority=LocalAuthority.create(FEDERATION, clock=SystemClock()))
    line = refusal_of("node", "run", "--home", home)
    assert line.endswith("tls.crt: not issued under the TLS roots that the manifest names [bad_identity]")

    registrar.certify(home)
    federation.whole()
    federation.submit("NL", file)
    assert_told_once(federation, range(100, 105))
    assert len(run_json("node", "records", "--home", home)["records"]) == 5


@pytest.mark.full
def test_a_node_with_other_rules_is_told_so_and_loses_nothing(
    federation: KillableFederation, registrar: Registrar, tmp_path: Path
) -> None:
    federation.whole()
    file = mails(tmp_path / "list.csv", range(200, 205))
    host, home = federation.host_of("DE"), federation.home("DE")
    shown = federation.status("DE")["shown"]

    # DE has a newer manifest, in which addresses are read by other rules; nobody else has it yet.
    federation.kill(host)
    rules = registrar.manifest.rules_versions
    registrar.publish(registrar.successor(rules_versions={**rules, "email": Window(current=2)}), home)
    mark = federation.mark()
    federation.revive(host)
    federation.wait_event(detached("DE", "stale_manifest"), since=mark)
    federation.submit("DE", file)
    wait_session(federation, "DE", "stale_manifest")
    until("status says that custodians refuse", lambda: "tokenise" in conditions_of(federation, "DE"))

    # All have it, and this program reads by the rules before it.
    federation.kill(*federation.processes)
    registrar.publish(registrar.manifest, *registrar.folders())
    mark = federation.mark()
    federation.revive(federation.hub, host)
    federation.wait_event(detached("DE", "stale_rules"), since=mark)
    wait_session(federation, "DE", "stale_rules")
    status = federation.status("DE")
    assert status["without_token"] + status["to_check"] > 0
    assert status["shown"] == shown

    # The next manifest names both versions: an overlap, in which old and new programs work.
    federation.kill(federation.hub, host)
    both = Window(current=1, next=2)
    registrar.publish(registrar.successor(rules_versions={**rules, "email": both}), *registrar.folders())
    federation.whole()
    federation.submit("NL", file)
    assert_told_once(federation, range(200, 205))
    until("status says nothing", lambda: not conditions_of(federation, "DE"))


def assert_told_once(federation: KillableFederation, numbers: range) -> None:
    told = settled(federation, told=2 * len(numbers)).told
    values = {mail(number) for number in numbers}
    expected = {(a, mail(n), b, mail(n)): 1 for n in numbers for a, b in (("NL", "DE"), ("DE", "NL"))}
    assert {key: times for key, times in told.items() if key[1] in values} == expected
