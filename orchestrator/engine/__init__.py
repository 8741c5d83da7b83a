"""Runs of drills: their directories, their durable execution, their verdicts."""
