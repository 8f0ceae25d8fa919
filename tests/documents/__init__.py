"""What docs/ has of the programs themselves: generated from them, and compared with them by tests/unit/test_docs.py.

`python -m tests.documents` writes all of it.
"""
