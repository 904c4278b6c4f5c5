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

-- Could this part of a body, which was too dear to read, name a model, in any case and however escaped?
local function may_name_model(rest)
  rest = lower(rest)
  return find(rest, "model", 1, true) or find(rest, "\\u", 1, true)
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
  local problem, values, seen, stopped = scan(bytes, budget)
  if problem == REASON.BODY_HOSTILE and (seen * 2 ~= #values or may_name_model(sub(bytes, stopped))) then
    return refuse_body(handle)
  end
  bytes = replaced(bytes, values, model)
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
