-- Rewrite: puts the tier's own model in place of the client's, and changes no other byte. The last gate before a
-- tier's key is added, so it lets no other model through, whatever happened to the scripts before it.
-- include names.lua
-- include scan.lua
-- include reply.lua

local function refuse_body(handle)
  refuse(handle, "400", REASON.BODY_UNREADABLE, "The model of this request cannot be set. Send plain UTF-8 JSON: "
    .. "no Content-Encoding, no multipart form.", "model", REASON.BODY_UNREADABLE)
end

-- The bytes with every value replaced.
local function replaced(bytes, values, model)
  local parts, from = {}, 1
  for i = 1, #values, 2 do
    parts[#parts + 1] = sub(bytes, from, values[i] - 1)
    parts[#parts + 1] = model
    from = values[i + 1] + 1
  end
  parts[#parts + 1] = sub(bytes, from)
  return table.concat(parts)
end

local function rewrite(handle)
  local body = handle:body()
  local length = body and body:length() or 0
  if length == 0 then
    return
  end
  local headers, context = handle:headers(), handle:filterContext()
  local model, budget = context:get("model"), number(context:get("budget"))
  local bytes = body:getBytes(0, length)
  local encoding = headers:get("content-encoding")
  local form = find(lower(headers:get("content-type") or ""), "multipart/", 1, true)
  -- Encodings of JSON that a lenient server would decode, and we would not: then its model would be the client's.
  if encoding and lower(encoding) ~= "identity" or form or find(sub(bytes, 1, 4), "[%z\254\255]") then
    return refuse_body(handle)
  end
  local problem, values = scan(bytes, budget)
  bytes = replaced(bytes, values, model)
  if problem == REASON.BODY_HOSTILE then
    -- Too deep to read to its end. Of two members of one name, parsers take the last: make it ours.
    local last = #bytes
    while match(sub(bytes, last, last), "%s") do
      last = last - 1
    end
    if byte(bytes, last) ~= 125 then
      return refuse_body(handle) -- no object ends like that, and a server that reads one anyway would take its model
    end
    bytes = sub(bytes, 1, last - 1) .. ',"model":' .. model .. sub(bytes, last)
  end
  body:setBytes(bytes)
end

function envoy_on_request(handle)
  local ok, problem = pcall(rewrite, handle)
  if not ok then
    handle:logErr("pointsman.rewrite: " .. tostring(problem))
    handle:respond({ [":status"] = "500", ["content-type"] = "application/json" },
      '{"error":{"message":"The model could not be set.","type":"server_error","param":null,"code":"script_error"}}')
  end
end
