"""The after-action report: which value counts in which row (docs/report.md, 3.6).

A *class byte* says of one value what the report needs: bits 0-3 the namespace number, bits 4-5 the assessment in the
area of trafficking, bits 6-7 the assessment in the area of child sexual abuse (0 checked, 1 suspected, 2 confirmed). It
goes to the hub beside candidate rows only, and is dropped with the window; of all other values the hub sees counts.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from concordat.errors import IdentityError, ProtocolError
from concordat.identity.names import SpiffeId
from concordat.tokens import NAMESPACE_NUMBERS, NAMESPACES_BY_NUMBER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concordat.identity.manifest import Manifest

REPORT_DOMAIN: Final = "report"
CHECKED, SUSPECTED, CONFIRMED = 0, 1, 2
ROW_OF_NAMESPACE: Final[Mapping[str, str]] = {
    "account": "people_usernames",
    "person": "people_usernames",
    "e164": "communication_devices",
    "email": "communication_devices",
    "app": "communication_devices",
    "platform": "platforms",
}
TOTALS: Final = (
    "people_usernames",
    "platforms",
    "communication_devices",
    "platforms_suspected",
    "platforms_identified",
    "platforms_csa",
)


def class_byte(namespace: str, trafficking: int, abuse: int) -> int:
    """Return the class byte of a value.

    Args:
        namespace: Namespace of the strong value.
        trafficking: `CHECKED`, `SUSPECTED` or `CONFIRMED` in the area of trafficking.
        abuse: The same in the area of child sexual abuse; `CHECKED` where nothing points to it.
    """
    return NAMESPACE_NUMBERS[namespace] | trafficking << 4 | abuse << 6


def split_class(byte: int) -> tuple[str, int, int]:
    """Return namespace, trafficking and abuse assessment of a class byte.

    Raises:
        ProtocolError: No such class.
    """
    namespace, trafficking, abuse = NAMESPACES_BY_NUMBER.get(byte & 15), byte >> 4 & 3, byte >> 6
    if namespace is None or trafficking > CONFIRMED or abuse > CONFIRMED:
        raise ProtocolError("a class byte names no class")
    return namespace, trafficking, abuse


def gravest(classes: list[int]) -> int:
    """Return the class byte that counts where holders of one value assess it differently.

    Raises:
        ProtocolError: The holders' namespaces differ, so that they cannot hold one value.
    """
    parts = [split_class(byte) for byte in classes]
    if len({namespace for namespace, _, _ in parts}) != 1:
        raise ProtocolError("holders of one value name different namespaces")
    return class_byte(parts[0][0], max(t for _, t, _ in parts), max(a for _, _, a in parts))


def totals(counts: Mapping[int, int]) -> dict[str, int]:
    """Return the six totals of distinct values from the number of distinct values a class byte."""
    result = dict.fromkeys(TOTALS, 0)
    for byte, number in counts.items():
        namespace, trafficking, abuse = split_class(byte)
        row = ROW_OF_NAMESPACE.get(namespace)
        if row is None:
            continue
        result[row] += number
        if row == "platforms":
            # Suspected excludes identified; the flag of child sexual abuse stands beside both.
            result["platforms_suspected"] += number if trafficking == SUSPECTED else 0
            result["platforms_identified"] += number if trafficking == CONFIRMED else 0
            result["platforms_csa"] += number if abuse >= SUSPECTED else 0
    return result


def listed(counts: Mapping[int, int]) -> dict[str, int]:
    """Return the number of distinct values a namespace, those outside the totals among them."""
    result: dict[str, int] = {}
    for byte, number in sorted(counts.items()):
        namespace = split_class(byte)[0]
        result[namespace] = result.get(namespace, 0) + number
    return result


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a version of a report changes against the one before it: numbers that differ, and whose set did.

    That a participant's set is another shows in its commitment only; what was added or taken out is not said.
    """
    old = {one["party"]: one for one in before["participants"]}
    changed = []
    for one in after["participants"]:
        was = old.get(one["party"], {})
        if one["state"] != was.get("state"):
            changed.append({"party": one["party"], "change": "state"})
        elif one["commitment"] != was.get("commitment"):
            changed.append({"party": one["party"], "change": "set"})
    return {
        "from": before["version"],
        "totals": _changes(before["totals"], after["totals"]),
        "per_namespace": _changes(before["per_namespace"], after["per_namespace"]),
        "matches": after["matches"] - before["matches"],
        "participants": changed,
    }


def _changes(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    changes = {name: after.get(name, 0) - before.get(name, 0) for name in {*before, *after}}
    return {name: number for name, number in changes.items() if number}


def encode_report(report: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON that a gateway signs."""
    return json.dumps(report, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def accept_report(raw: bytes, signature: bytes, *, operation: str, manifest: Manifest) -> dict[str, Any]:
    """Check a report that was received, and read it.

    Args:
        raw: As received.
        signature: Of the gateway that the report names.
        operation: The one that was asked for.
        manifest: Names the gateways.

    Raises:
        IdentityError: Unreadable, not signed by a gateway of the manifest, or of another operation or federation.
    """
    try:
        report: dict[str, Any] = json.loads(raw)
        gateway = manifest.gateway_by_id(SpiffeId.parse(str(report["gateway"])))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise IdentityError("the report cannot be read") from error
    gateway.verify_key.verify(REPORT_DOMAIN, signature, raw)
    if (report.get("operation"), report.get("federation")) != (operation, manifest.federation):
        raise IdentityError("the report is of another operation")
    return report
