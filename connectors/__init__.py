"""How we touch the world. Imports schemas."""

VERSION = "0.1.0"
