"""Ports made real. An adapter translates; a question about states belongs to `engine`."""
