"""Whom an auditor believes: the trust file, and whose signatures count."""
