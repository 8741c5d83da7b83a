"""How long evidence stays: retention, legal holds, tombstones."""
