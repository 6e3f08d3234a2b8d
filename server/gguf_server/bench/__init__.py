"""The load generator: seeded workloads, a light client, and the numbers of one table row."""
