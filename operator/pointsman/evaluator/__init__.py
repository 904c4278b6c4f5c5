"""The evaluator: access logs and captured text in, counts out. It is never in a request's path.

Pure: wire, record, guards, prices, redact, answer, totals, ledger.
I/O: access_log, capture, store, writer, policies, envoy_admin, http_api, serve.
"""
