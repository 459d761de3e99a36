"""Sweeps at the hub (docs/protocol.md 3.6 (3) to (6)).

`hub` is the protocol, without input and output; `effects` what it wants done; `declaration` what a participant
commits to; `finder` the array work of a window; `groups` equal rows and exact counts; `journal` what is kept of them;
`pairs` the proofs between holders; `jobs` what is done beside the event loop; `service` binds all that to streams,
ledger and database.
"""
