"""Sweeps at the hub (docs/protocol.md 3.6 (3) to (6)).

`hub` is the protocol, without input and output: who takes part (`members`), the windows (`windows`) and the proofs
between holders (`pairing`, `pairs`); `effects` is what it wants done; `declaration` what a participant commits to;
`finder` the array work of a window; `groups` equal rows and exact counts; `journal` what is kept of them, `checkpoint`
the rest that a restart needs, `parts` a sweep that several hubs share; `jobs` what is done beside the event loop;
`service` binds all that to streams, ledger and database.
"""
