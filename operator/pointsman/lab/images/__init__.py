"""Container images without a container daemon: layers from packages and wheels, put into OCI archives.

The same content gives the same digest. Made for one machine and its cluster; what is published comes from the
Dockerfiles in `images/`.
"""
