"""What the machine must have, pinned, and how each thing is got. Standard library only."""
