"""The work that keeps the lake as quick and as small as on its first day. No venue's row is made here."""
