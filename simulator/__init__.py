"""Venues that we run ourselves: a seeded market behind the real protocols, with faults on a switch."""
