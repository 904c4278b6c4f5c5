-- Ready: before Envoy's own word counts, a listener that clients connect to must be there. Asked once: what came
-- does not go without Envoy's ending.
local seen = false

function envoy_on_request(handle)
  if seen then
    return
  end
  local asked = { [":method"] = "GET", [":path"] = "/listeners", [":authority"] = "admin" }
  local headers, body = handle:httpCall("pointsman-admin", asked, "", 2000)
  if headers[":status"] == "200" and string.find("\n" .. (body or ""), "\nentry", 1, true) then
    seen = true
    return
  end
  handle:respond({ [":status"] = "503" }, "no listener for clients yet\n")
end
