"""The promises of `workers/providers/__init__.py`, held against every file there: the real provider code on the vendors'
real SDKs, and the simulator over loopback. `python -m tests.conformance` prints promises × APIs.
"""
