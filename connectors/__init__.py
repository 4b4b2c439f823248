"""How we touch the world. Imports schemas."""
