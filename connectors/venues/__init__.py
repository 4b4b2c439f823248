"""The venues that we know. Adding one is one file, one line here and one conformance table."""
