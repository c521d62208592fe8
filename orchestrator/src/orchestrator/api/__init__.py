"""HTTP: bytes in, use-cases, bytes out. Falcon routes, Granian listens (see `bootstrap`)."""
