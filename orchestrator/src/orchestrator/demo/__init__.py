"""The demo: a workflow of five steps that archives a folder of real files, and one process for each part of it.

The steps know the worker SDK and nothing of the server; the server knows nothing of the demo.
"""
