"""Shadow: the candidate answers captured requests of the incumbent, off the path. Never a client's request.

Pure: request, reply, budget, pairs. I/O: replay, history, service.
"""
