"""Questions about what was kept, and their answers. No clock, no terminal, no web server: those ask here."""
