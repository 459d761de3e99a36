"""The rules of the protocol as switches: each is a sentence of DESIGN 3.2 to 3.5 or 3.8, and each prevents something.

The numbers are those of docs/protocol.md, the C-numbers those of the traces in docs/threat-model.md. `MUTANTS` names
the switch by which each mutant of the issue is found.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rules:
    """All on is the protocol."""

    complete_plane: bool = True
    """3.2 (3), C1: a party is covered only with its complete plane installed."""
    merge_deltas: bool = True
    """3.2 (3), C4: a snapshot is merged with all deltas that came since it began."""
    catch_up_first: bool = True
    """3.2 (3), I9: a node takes every notice its list had when it attached before its snapshot; till then no answer."""
    replay_journal: bool = True
    """I9: a restored node replays its own policy journal before its first answer."""
    replay_withdrawals: bool = True
    """I9: the journal has withdrawals too, and a restored node replays them."""
    fence: bool = True
    """I9: a store that a newer one of its party has replaced may not attach."""
    raise_sequence: bool = True
    """3.2 (3): a restored node raises its sequence to the one in the ledger."""
    publish_before_check: bool = True
    """3.3 (2), (3): a value is asked about only after it is published."""
    publish_everywhere: bool = True
    """3.3 (2), C2: a batch goes to every attached gateway, and all must have it."""
    sequence_in_ledger: bool = True
    """3.3 (2), C2: the sequence is durable in the ledger with the batch."""
    pending_before_check: bool = True
    """3.3 (3): pending rows are stored before the check leaves."""
    store_before_acknowledge: bool = True
    """3.3, I9: a submit is acknowledged only once it is on disk."""
    reference_reused: bool = True
    """3.3: a value that was looked up once and is kept later has the same reference."""
    reference_survives_epochs: bool = True
    """3.3, C11: a value keeps its reference in a new epoch."""
    answer_from_all_records: bool = True
    """3.4 (2): a holder looks in silent records too."""
    local_only_apart: bool = True
    """3.4 (2): local-only records are neither published, asked nor answered."""
    audience: bool = True
    """3.4 (1): a holder is told only if the asker's audience has it."""
    asker_policy: bool = True
    """3.4 (2): the asker is told only if the holder's policy lets it."""
    both_told: bool = True
    """3.4 (2): who asked plays no part; the holder is told as the asker is."""
    refuse_unproven: bool = True
    """3.4 (4): a notice that proves nothing here is returned as a refusal, and its keys are free again."""
    refused_is_pending: bool = True
    """3.4 (4): a value whose edge became void is pending again at both."""
    unique_edges: bool = True
    """3.4 (3), C5: edge, told and notices are read and written in one serialisable transaction."""
    told_by_reference: bool = True
    """3.4 (3), C14: told is keyed by (recipient's reference, other party), never by match."""
    new_reference_replaces: bool = True
    """3.4 (3), C9: a new reference of a party replaces the old one and tells nobody else."""
    required_from_ledger: bool = True
    """3.4 (5), C3: a plane or index behind the sequence in the ledger covers nobody."""
    read_after_arrival: bool = True
    """3.4 (5), C3: that sequence is read after the check arrived."""
    reroute: bool = True
    """3.4 (5): a party whose plane changed since the items were routed is routed again before the barrier."""
    look_again: bool = True
    """3.4 (5): a holder whose index grew since a question looks it up again before it answers the barrier."""
    index_reaches_sequence: bool = True
    """3.4 (6): only an index at or above the ledger's sequence covers."""
    same_session: bool = True
    """3.4 (6): only the session that carried the tick's questions covers."""
    edges_durable: bool = True
    """3.4 (6): nobody is covered before all edges of the tick are durable."""
    cursor_with_inbox: bool = True
    """C8: a node stores a notice and its cursor in one transaction."""
    only_covered_clears: bool = True
    """3.4 (7), C13: only 'covered' clears a pending row; a time-out does not."""
    outside_is_pending: bool = True
    """3.5, C7: 'outside the agreement' is pending too."""
    wake_on_manifest: bool = True
    """3.5, C7: a new opt-in table wakes what was outside."""
    wake_on_return: bool = True
    """3.5: the return of a peer wakes what is pending for it."""
    ask_again_in_epoch: bool = True
    """3.5, C11: every value is asked again under a new epoch."""
    widen_republishes: bool = True
    """3.5, C6: who widens a policy publishes the value again."""
    widen_asks: bool = True
    """3.5, C6: who widens a policy asks again."""
    narrow_before_acknowledge: bool = True
    """3.5: a narrowed policy is in force before it is acknowledged."""
    notices_restart: bool = True
    """3.5, C10: another ledger incarnation restarts the notices from the first."""
    renew_ledger: bool = True
    """3.5, C10: a ledger that was restored has a new incarnation."""
    ask_again_of_new_ledger: bool = True
    """3.5, C10: with another ledger, all are pending again for everything."""
    bury_again: bool = True
    """3.8, C10: with another ledger, all withdrawals are said again."""
    dead_references: bool = True
    """3.8, C12: no edge opens with a dead reference."""
    free_withdrawn_keys: bool = True
    """3.8, C12: a withdrawal makes its edges void and frees what was told of them."""
    tell_withdrawal: bool = True
    """3.8: whoever was told of the record is told that it is withdrawn."""
    withdrawal_in_own_list: bool = True
    """3.8, I9: the withdrawing party's own list says so, which tells a restored node what it had withdrawn."""


ON = Rules()
MUTANTS = {
    "check before publish": "publish_before_check",
    "acknowledge before commit": "store_before_acknowledge",
    "plane replaced instead of merged": "merge_deltas",
    "pending cleared on time-out": "only_covered_clears",
    "told keyed by match": "told_by_reference",
    "answer from a lagging index": "index_reaches_sequence",
}
