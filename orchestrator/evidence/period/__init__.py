"""The bundle of an environment over a period: written, read, verified."""
