"""What tests need to drive the real Envoy: configuration as files, upstreams, a classifier, a log sink."""
