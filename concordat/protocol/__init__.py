"""The signed objects and MACs of the exchange, without any I/O (docs/protocol.md 3).

Bytes, keys and a time in; values or errors out. Every signed object travels as the bytes that were signed.
"""
