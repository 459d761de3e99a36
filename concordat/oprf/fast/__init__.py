"""Compiled code for tokens, where the extra `fast` is installed (numba); ADR 0010.

Nothing here is imported before `concordat.oprf.engine` decides so. Modules, from the bottom:

    compiler  how a kernel is compiled and kept on disk
    field     numbers modulo 2^255 - 19
    curve     points of ristretto255, their decoding and encoding
    msm       the sum of many scalars times many points
    batch     the engine of these, over columns of bytes; compared with libsodium before use
    lanes     eight multiplications by one secret scalar at a time, on processors with AVX-512 IFMA
"""
