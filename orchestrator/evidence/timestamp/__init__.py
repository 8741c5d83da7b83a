"""Timestamps of RFC 3161: asked for, reduced to what is signed, verified."""
