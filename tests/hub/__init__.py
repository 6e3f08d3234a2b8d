"""A hub of ours on loopback: it speaks the real protocol, and misbehaves when told to."""
