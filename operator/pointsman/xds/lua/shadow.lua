-- Shadow: what the evaluator asks for becomes the authority, which virtual hosts are found by, one for each tier.
-- include names.lua

function envoy_on_request(handle)
  local headers = handle:headers()
  headers:replace(":authority", headers:get(HEADER.SHADOW) or "none")
  handle:clearRouteCache()
end
