"""What persons sign: approvals, waivers, access reviews."""
