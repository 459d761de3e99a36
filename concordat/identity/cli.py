"""The command lines `concordat federation` and `concordat home`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress

from concordat.clock import SystemClock
from concordat.config import explain
from concordat.errors import InputError
from concordat.identity.federation import init_federation, steps
from concordat.identity.home import load_home
from concordat.identity.install import install as install_files
from concordat.identity.plan import ASKING_CLASSES, FederationPlan, NodePlan, PartnerPlan
from concordat.identity.signed_manifest import RootKeys

app = App(name="federation", help="Make a local federation, and check a party's folder.")
home = App(name="home", help="Put a party's keys into its folder.")

AsJson = Annotated[bool, Parameter(name="--json", negative=())]


@app.command
def init(
    directory: Path,
    /,
    *,
    nodes: str,
    name: str = "concordat.example",
    partners: str = "",
    answer_partners: str = "",
    custodians: int = 3,
    threshold: int = 2,
    gateway_address: str = "localhost:7400",
    api_address: str = "localhost:7443",
    custodian_addresses: str = "",
    unsafe_dealer: Annotated[bool, Parameter(negative=())] = False,
    as_json: AsJson = False,
) -> None:
    """Make keys, certificates, token keys, a signed manifest and a folder for each party.

    Parameters
    ----------
    directory
        A folder that is new or empty.
    nodes
        Comma-separated: countries (NL,DE), known organisations (EUROPOL), or NAME:CLASS.
    name
        The federation's name, like a DNS name.
    partners
        Comma-separated organisations that only ask: NAME, or NAME:PURPOSE+PURPOSE for what they may ask.
    answer_partners
        Comma-separated nodes that answer partners, or 'all'; none by default.
    custodians
        How many hold a share of each token key (n).
    threshold
        How many of them are needed (t).
    gateway_address
        HOST:PORT of the gateway.
    api_address
        HOST:PORT of the gateway's HTTPS API, for partners and the console.
    custodian_addresses
        Comma-separated HOST:PORT, one per custodian; by default localhost, ports 7401 and on.
    unsafe_dealer
        Deal the token keys in one process that knows them, instead of generating them without a dealer.
    as_json
        Print one JSON object and nothing else.
    """
    planned = [NodePlan.parse(one) for one in _split(nodes)]
    try:
        plan = FederationPlan(
            name=name,
            nodes=tuple(planned),
            partners=tuple(PartnerPlan.parse(one) for one in _split(partners)),
            opt_in=dict.fromkeys(_answering(answer_partners, planned), ASKING_CLASSES),
            api_address=api_address,
            custodians=custodians,
            threshold=threshold,
            gateway_address=gateway_address,
            custodian_addresses=tuple(_split(custodian_addresses)),
        )
    except ValidationError as error:
        raise InputError(explain(error)) from None
    with Progress(console=Console(stderr=True), transient=True, disable=as_json) as bar:
        task = bar.add_task("making the federation", total=steps(plan))

        def show(step: str) -> None:
            bar.update(task, advance=1, description=step)

        manifest = init_federation(directory, plan, unsafe_dealer=unsafe_dealer, progress=show)
    first = directory / "node" / plan.nodes[0].name
    result = {
        "federation": manifest.federation,
        "manifest": manifest.hash.hex(),
        "root_keys": RootKeys.load(first / "root-keys.json").fingerprint(),
        "nodes": [party.name for party in manifest.nodes],
        "partners": [partner.name for partner in plan.partners],
        "custodians": manifest.total,
        "threshold": manifest.threshold,
    }
    if as_json:
        print(json.dumps(result))
        return
    print(f"{directory}: {len(manifest.nodes)} nodes, {manifest.threshold} of {manifest.total} custodians, 1 gateway")
    print(f"root keys  {result['root_keys']}")
    print(f"manifest   {result['manifest']}")


@app.command
def check(home: Path, /, *, as_json: AsJson = False) -> None:
    """Load a party's folder as its service would, and say who it is.

    Parameters
    ----------
    home
        The party's folder, such as DIR/node/NL.
    as_json
        Print one JSON object and nothing else.
    """
    found = load_home(home, clock=SystemClock())
    result = {
        "identity": str(found.identity),
        "manifest_version": found.manifest.version,
        "manifest": found.manifest.hash.hex(),
        "root_keys": found.roots.fingerprint(),
        "signing_key": found.signing_key.public.fingerprint(),
    }
    if as_json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key.replace('_', ' '):17} {value}")


@home.command
def install(
    *,
    source: Annotated[Path, Parameter(name="--from")],
    to: Path,
    keys: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Copy keys, certificate and manifest from where a platform hands out secrets; state in the folder stays.

    Example: concordat home install --from /run/concordat/party --to /var/lib/concordat --keys /run/concordat/keys

    Parameters
    ----------
    source
        A party's folder, or its files in one flat folder, as Kubernetes mounts a Secret.
    to
        The folder that the service gets as --home.
    keys
        Folder that takes the secrets instead, to be mounted over the home's own, such as one in memory.
    as_json
        Print one JSON object and nothing else.
    """
    done = install_files(source, to, keys=keys)
    if as_json:
        print(json.dumps({"files": done.files, "manifest_version": done.manifest_version}))
    else:
        print(f"{to}: {done.files} files of the party's identity; manifest {done.manifest_version}")


def _answering(text: str, nodes: list[NodePlan]) -> list[str]:
    return [node.name for node in nodes] if text.strip() == "all" else _split(text)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
