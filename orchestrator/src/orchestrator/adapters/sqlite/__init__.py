"""The embedded profile's store: one SQLite file, one writer, group commit."""
