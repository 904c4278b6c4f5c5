"""What tests need to drive the real Envoy: configuration as files, upstreams, a scripted classifier, a log sink."""
