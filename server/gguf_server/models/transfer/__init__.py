"""Bytes from a hub to a disk: in pieces, resumed across processes, verified."""
