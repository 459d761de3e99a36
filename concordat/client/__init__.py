"""The partner's side: ask whether others hold what one's own organisation knows, without showing it (3.9).

    from concordat.client import Client

`session` is the part that the console uses too; it needs no canonical forms.
"""
