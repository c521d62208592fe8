"""Values that every layer speaks: definitions, states, events, wire records, errors, limits.

Imports the standard library and msgspec only, and does nothing but hold and check data.
"""
