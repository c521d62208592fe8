"""The distributed profile's store: one PostgreSQL database, any number of orchestrators over it."""
