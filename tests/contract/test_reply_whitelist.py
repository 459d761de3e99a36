"""I4: a reply holds what Pruem II art. 28(2) and 44(4) let it hold, and nothing else (LB-07, LB-08).

Walked are all messages that the hub or a custodian sends, all bodies that travel inside them as signed bytes, what a
holder answers, and all that the HTTPS API returns; from there every field of every field. A field that nobody has put
on the list of reply_whitelist.py with a reason fails here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FieldDescriptor
from pydantic import BaseModel

from concordat.api.model import EvaluationResponse, QueryResponse, ReportResponse
from concordat.api.operator import OperatorState
from concordat.wire.v1 import check_pb2 as wire
from tests.contract.reply_whitelist import BODIES, EVIDENCE, REFERENCE, TIME, WIRE
from tests.unit.rpc.methods_of_the_wire import methods

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import Descriptor

_PACKAGE: Final = "concordat.wire.v1."
# Bytes that are another message, exactly as signed.
SIGNED: Final[dict[str, type[Any]]] = {
    "Certificate.body": wire.CertificateBody,
    "Question.header": wire.CheckHeader,
    "Receipt.body": wire.ReceiptBody,
    "Feedback.body": wire.FeedbackBody,
}
SENT: Final = [one.output_type for name, one in methods().items() if _PACKAGE in name]
# A holder's answer goes to the hub and from there into notices and query results.
ROOTS: Final = [*SENT, wire.Answer.DESCRIPTOR]
RETURNED: Final = (EvaluationResponse, QueryResponse, ReportResponse, OperatorState)


def fields_of(roots: Iterable[Descriptor]) -> dict[str, FieldDescriptor]:
    """Return every field that can be reached from some messages, by `Message.field`."""
    found: dict[str, FieldDescriptor] = {}
    waiting, seen = list(roots), set()
    while waiting:
        message = waiting.pop()
        if message.full_name in seen:
            continue
        seen.add(message.full_name)
        for field in message.fields:
            name = f"{message.name}.{field.name}"
            found[name] = field
            if field.message_type is not None:
                waiting.append(field.message_type)
            if name in SIGNED:
                waiting.append(SIGNED[name].DESCRIPTOR)
    return found


def fields_of_models(roots: Iterable[type[BaseModel]]) -> set[str]:
    """Return every field that can be reached from some bodies."""
    found: set[str] = set()
    waiting: list[Any] = list(roots)
    while waiting:
        one = waiting.pop()
        waiting.extend(get_args(one))
        if isinstance(one, type) and issubclass(one, BaseModel) and f"{one.__name__}." not in found:
            found.add(f"{one.__name__}.")
            for name, field in one.model_fields.items():
                found.add(f"{one.__name__}.{name}")
                waiting.append(field.annotation)
    return {name for name in found if not name.endswith(".")}


def test_i4_every_field_that_can_reach_another_party_is_on_the_list_with_a_reason() -> None:
    found = set(fields_of(ROOTS))
    assert found - set(WIRE) == set(), "say in reply_whitelist.py what these are, and why they may be there"
    assert set(WIRE) - found == set(), "these are sent no more"


def test_i4_every_field_of_a_body_of_the_api_is_on_the_list_with_a_reason() -> None:
    assert fields_of_models(RETURNED) == set(BODIES)


def test_i4_no_reply_holds_a_number_that_could_be_a_score() -> None:
    """LB-08: the match's quality is a class; the only fractions would be scores."""
    fractions = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)
    assert not [name for name, field in fields_of(ROOTS).items() if field.type in fractions]


def test_i4_references_and_evidence_are_bytes_and_times_are_numbers() -> None:
    """So that no identifier, label or free text can stand where a reference is allowed."""
    for name, field in fields_of(ROOTS).items():
        if WIRE[name] in (REFERENCE, EVIDENCE):
            assert field.type == FieldDescriptor.TYPE_BYTES, name
        if WIRE[name] == TIME:
            assert field.type == FieldDescriptor.TYPE_INT64, name


def _with_a_new_field(depth: int) -> Descriptor:
    """Return a message with a field that nobody has listed, at some depth."""
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="new.proto", package="concordat.test.v1", syntax="proto3")
    for level in range(depth):
        inner = f".concordat.test.v1.Level{level + 1}"
        field = kind(name="inner", number=1, label=kind.LABEL_OPTIONAL, type=kind.TYPE_MESSAGE, type_name=inner)
        file.message_type.add(name=f"Level{level}", field=[field])
    field = kind(name="similarity", number=1, label=kind.LABEL_OPTIONAL, type=kind.TYPE_UINT32)
    file.message_type.add(name=f"Level{depth}", field=[field])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool.FindMessageTypeByName("concordat.test.v1.Level0")


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_the_walk_finds_a_new_field_at_any_depth(depth: int) -> None:
    assert f"Level{depth}.similarity" in set(fields_of([_with_a_new_field(depth)])) - set(WIRE)


def test_the_walk_finds_a_new_field_of_a_body() -> None:
    class Inner(BaseModel):
        score: float = 0.0

    class Outer(BaseModel):
        items: tuple[Inner, ...] | None = None

    assert fields_of_models([Outer]) == {"Outer.items", "Inner.score"}
