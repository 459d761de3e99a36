"""Sorted column files beside the node's store: the live index, and the sets of operations."""
