"""Threshold verifiable OPRF: RFC 9497 VOPRF(ristretto255-SHA512), the key shared t-of-n between custodians.

Everything here is sans-IO: packed bytes in, packed bytes or an error of `concordat.errors` out. A column of n elements
or scalars is n·32 bytes, a column of outputs n·64. Modules, from the bottom:

    group      the ristretto255 group over libsodium; strict decoding; the only module that touches pysodium
    suite      domain separation, hashing to group and scalar, key derivation (RFC 9497, sections 3 and 4.1)
    dleq       batched proofs that one key made all evaluations (section 2.2)
    server     what a custodian does: evaluate and prove
    threshold  Shamir shares, integer Lagrange coefficients, the group key
    client     what a party does: blind, verify, combine, finalize
    keygen     key generation without a dealer
    bench      how fast, and does a lying custodian get caught
"""
