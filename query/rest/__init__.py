"""The questions over HTTP: routes, forms of answers, keys and limits, the stream, a child for SQL."""
