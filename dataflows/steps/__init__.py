"""The steps: pure functions on batches of records. Import schemas only."""
