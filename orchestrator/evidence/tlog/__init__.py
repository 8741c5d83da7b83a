"""The append-only log of an environment: a Merkle tree in the formats of transparency logs."""
