"""How fast each part is: one module a part, each with `measure() -> {figure: number}`."""
